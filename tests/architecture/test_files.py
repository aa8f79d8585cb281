"""The files of the repository hold nothing that they must not."""

import re

import pytest
from omegaconf import OmegaConf

from tests.architecture.sources import read_text, tracked_files
from tests.support.paths import ROOT

# Only objects that are not ours may be named by import path in a YAML file.
TARGET_PREFIXES = ("lightning.",)
README_LINES = 200
MAX_BYTES = 1024 * 1024
HOME_FOLDERS = ("home", "Users", "root", "tmp", "work", "farm")
MACHINE_PATH = re.compile(rf"(?<![\w.$}}>-])/(?:{'|'.join(HOME_FOLDERS)})/(?!\.\.\.)\w|[A-Z]:\\Users")
INDEX_HOSTS = re.compile("|".join(("pypi" + r"\.org", "python" + "hosted", "registry" + r"\.npmjs")))
TEXT_FILES = [
    name for name in tracked_files() if not name.endswith((".png", ".jpg", ".onnx", ".npy", ".faiss"))
]


def targets(node: object) -> list[str]:
    """Returns every value of a `_target_` key in a loaded YAML document."""
    if isinstance(node, dict):
        own = [str(node["_target_"])] if "_target_" in node else []
        return own + [target for value in node.values() for target in targets(value)]
    return [target for value in node for target in targets(value)] if isinstance(node, list) else []


def matching_lines(pattern: re.Pattern[str]) -> list[str]:
    """Returns the lines of tracked text files that match, as "file:line text"."""
    return [
        f"{name}:{number} {line.strip()[:80]}"
        for name in TEXT_FILES
        for number, line in enumerate(read_text(name).splitlines(), start=1)
        if pattern.search(line)
    ]


def test_readme_is_read_in_a_few_minutes() -> None:
    assert read_text("README.md").count("\n") < README_LINES


@pytest.mark.parametrize("name", tracked_files("configs/*.yaml"))
def test_yaml_names_no_import_path_of_ours(name: str) -> None:
    named = targets(OmegaConf.to_container(OmegaConf.load(ROOT / name)))
    assert not [target for target in named if not target.startswith(TARGET_PREFIXES)]


def test_no_file_holds_a_path_of_one_machine() -> None:
    assert not matching_lines(MACHINE_PATH)


def test_rule_finds_a_machine_path() -> None:
    assert MACHINE_PATH.search("open('" + "/home" + "/ada/events.csv')")
    assert not MACHINE_PATH.search("GET /v1/recommend, ./home/x, ${ROOT}/" + "work/x")


def test_no_file_names_a_package_index() -> None:
    assert not matching_lines(INDEX_HOSTS)


def test_no_data_is_committed() -> None:
    assert not [name for name in tracked_files() if (ROOT / name).stat().st_size > MAX_BYTES]


def test_no_note_is_left_for_later() -> None:
    later = re.compile("|".join(f"{word}\\b" for word in ("TO" + "DO", "FIX" + "ME", "X" + "XX")))
    assert not matching_lines(later)


def test_licence_is_the_one_that_is_declared() -> None:
    assert 'license = "Apache-2.0"' in read_text("pyproject.toml")
    assert re.match(r"\s*Apache License\s+Version 2\.0, January 2004", read_text("LICENSE"))
