"""The set-up: one file of versions, ranges that admit them, and commands that explain themselves."""

import re
import subprocess
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.architecture.sources import read_text
from tests.support.paths import ROOT

PROJECT = tomllib.loads(read_text("pyproject.toml"))["project"]
PINS = dict(line.split("==") for line in read_text("constraints.txt").splitlines() if "==" in line)
VERSIONS = {canonicalize_name(name): version for name, version in PINS.items()}
TARGETS = re.findall(r"^([a-z]+): .*## ", read_text("Makefile"), flags=re.MULTILINE)


def declared_requirements() -> list[Requirement]:
    """Returns every requirement of the project and its extras on another project."""
    lists = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    requirements = [Requirement(text) for texts in lists for text in texts]
    return [requirement for requirement in requirements if requirement.name != PROJECT["name"]]


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Returns a finished run of make in the repository."""
    return subprocess.run(["make", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("requirement", declared_requirements(), ids=lambda requirement: requirement.name)
def test_pinned_version_lies_in_its_range(requirement: Requirement) -> None:
    assert requirement.specifier.contains(VERSIONS[canonicalize_name(requirement.name)])


def test_every_pin_is_one_plain_version() -> None:
    lines = [line for line in read_text("constraints.txt").splitlines() if not line.startswith("#")]
    assert not [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)]


def test_help_names_every_command() -> None:
    shown = make("help").stdout
    assert len(TARGETS) > 8
    assert not [target for target in TARGETS if f"make {target} " not in shown]


@pytest.mark.parametrize("target", TARGETS)
def test_command_can_be_planned(target: str) -> None:
    assert make("--dry-run", target).returncode == 0


def test_serve_without_bundle_says_what_to_do() -> None:
    ran = make("serve", "BUNDLE=bundles/no-such-bundle", "--assume-old=.venv/.installed")
    assert ran.returncode == 2
    assert "make demo" in ran.stderr


def test_setup_without_python_says_what_to_install() -> None:
    ran = make("setup", "VENV=no-such-folder", "PATH=/nowhere")
    assert "found no Python 3.11 or 3.12" in ran.stderr


def test_changelog_has_an_entry_for_this_version() -> None:
    assert re.search(
        rf"^## \[({re.escape(PROJECT['version'])}|Unreleased)\]", read_text("CHANGELOG.md"), re.MULTILINE
    )


@pytest.mark.parametrize("requirement", declared_requirements(), ids=lambda requirement: requirement.name)
def test_dependency_is_there_for_a_stated_reason(requirement: Requirement) -> None:
    reasons = read_text("docs/decisions/0001-dependencies.md")
    assert re.search(rf"(?m)^\| .*\b{re.escape(requirement.name)}\b.* \|", reasons)
