"""The comments at the head of the configs: true to the schemas, and what `--help` shows."""

import importlib
import re
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from tests.support.paths import CONFIGS
from training.choices import SCHEMAS
from training.cli.menu import Menu, find_configs, help_text

CHOICES = [(group, name) for group, choices in SCHEMAS.items() for name in choices]
COMMANDS = (
    *("card", "experiment", "monitor", "off_policy"),
    *("backtest", "download", "evaluate", "export", "learning_curve"),
    *("dataset", "loop", "make_key", "prepare", "publish", "simulate", "train", "tune"),
)


def as_yaml(value: object) -> object:
    """Returns a value as a person writes it."""
    return value.name if isinstance(value, Enum) else value


@pytest.mark.parametrize(("group", "name"), CHOICES, ids=map("/".join, CHOICES))
def test_menu_of_a_choice_has_the_knobs_and_defaults_of_its_schema(group: str, name: str) -> None:
    schema = SCHEMAS[group][name]
    defaults = OmegaConf.structured(schema)
    menu = Menu.read(CONFIGS / group / f"{name}.yaml")
    assert len(menu.lines) >= 2, "what it is, and when to choose it"
    assert sorted(knob.name for knob in menu.knobs) == sorted(field.name for field in fields(schema))
    for knob in menu.knobs:
        assert yaml.load(knob.default, yaml.SafeLoader) == as_yaml(defaults[knob.name]) or float(
            knob.default
        ) == float(defaults[knob.name])
        assert knob.words, knob.name


@pytest.mark.parametrize(("group", "name"), CHOICES, ids=map("/".join, CHOICES))
def test_menu_names_every_word_that_a_knob_may_have(group: str, name: str) -> None:
    hints = get_type_hints(SCHEMAS[group][name])
    for knob in Menu.read(CONFIGS / group / f"{name}.yaml").knobs:
        for kind in (hints[knob.name], *get_args(hints[knob.name])):
            if isinstance(kind, type) and issubclass(kind, Enum):
                assert {member.name for member in kind} <= set(re.findall(r"\w+", knob.words))


def test_every_file_of_a_group_of_schemas_is_a_choice() -> None:
    found = {(path.parent.name, path.stem) for group in SCHEMAS for path in (CONFIGS / group).glob("*.yaml")}
    assert found == set(CHOICES)


@pytest.mark.parametrize("name", COMMANDS)
def test_menu_of_a_command_has_the_keys_and_defaults_of_its_schema(name: str) -> None:
    found = importlib.import_module(f"training.{name}")
    if hasattr(found, "__path__"):
        importlib.import_module(f"training.{name}.__main__")
    importlib.import_module("training.tuning.config")
    schema = ConfigStore.instance().repo[f"{name}_schema.yaml"].node
    menu = Menu.read(CONFIGS / f"{name}.yaml")
    single = {key for key in schema if not OmegaConf.is_config(schema._get_node(key))}
    groups = {path.name for path in CONFIGS.iterdir() if path.is_dir()}
    assert single - groups <= {knob.name for knob in menu.knobs}
    for knob in menu.knobs:
        # A group that is worth a line: its default is the name of a choice.
        if knob.name in groups and knob.default != "null":
            assert (CONFIGS / knob.name / f"{knob.default}.yaml").is_file(), knob
            continue
        default = OmegaConf.select(schema, knob.name, throw_on_missing=False)
        is_missing = OmegaConf.is_missing(schema, knob.name) if "." not in knob.name else False
        assert knob.default == "???" if is_missing else yaml.safe_load(knob.default) == as_yaml(default), knob


def test_help_lists_each_choice_once_and_marks_the_default() -> None:
    lines = help_text("train", "marquee train").splitlines()
    listed = [line for line in lines if re.match(r"( \*|  ) \w", line)]
    assert len([line for line in listed if " two_tower " in line]) == 1
    assert any(line.startswith(" * two_tower ") for line in listed)
    assert not any("schema" in line for line in lines)


def test_help_of_a_command_without_choices_shows_its_keys() -> None:
    text = help_text("export", "marquee export")
    assert re.search(r"run +\?\?\? +folder of a run", text)
    assert text.startswith("marquee export key=value")


def test_configs_inside_of_the_package_come_before_those_beside_it(tmp_path: Path) -> None:
    package = tmp_path / "training"
    package.mkdir()
    assert find_configs(package) == tmp_path / "configs"
    (package / "configs").mkdir()
    assert find_configs(package) == package / "configs"
