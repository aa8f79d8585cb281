"""The command `marquee`: what it knows, finds, completes and refuses."""

import importlib.util
import os
import re
import subprocess
import sys

import pytest

from marquee_cli.__main__ import main
from marquee_cli.commands import COMMANDS, Command
from marquee_cli.serve import USAGE, command_line
from marquee_cli.serve import main as serve
from tests.support.paths import CONFIGS


@pytest.mark.parametrize("command", COMMANDS.values(), ids=lambda command: command.name)
def test_every_command_has_its_module_and_its_menu(command: Command) -> None:
    assert importlib.util.find_spec(command.module) is not None
    assert command.menu is None or (CONFIGS / f"{command.menu}.yaml").is_file()


def test_every_menu_has_its_command() -> None:
    # Read by others: parts of every menu, and what the service weighs ads by.
    no_menus = {"command", "open", "objective"}
    menus = {path.stem for path in CONFIGS.glob("*.yaml")} - no_menus
    assert menus == {command.menu for command in COMMANDS.values() if command.menu}


def test_overview_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    said = capsys.readouterr().out
    assert re.findall(r"^  (\S+) ", said, flags=re.M) == list(COMMANDS)


def test_overview_is_shown_by_a_terminal_without_utf8() -> None:
    assert "learning-curve" in said_by("-m", "marquee_cli", PYTHONIOENCODING="ascii")


def test_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trai"]) == 2
    assert "no command 'trai'; did you mean 'train'?" in capsys.readouterr().err
    assert main(["learning_curve"]) == 2
    assert "did you mean 'learning-curve'?" in capsys.readouterr().err
    assert main(["xyz"]) == 2
    assert "backtest" in capsys.readouterr().err


def said_by(*arguments: str, **variables: str) -> str:
    """Runs a new Python process and returns its output."""
    command, environment = [sys.executable, *arguments], {**os.environ, **variables}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def test_help_of_a_command_loads_neither_torch_nor_hydra() -> None:
    program = (
        "import sys; from marquee_cli.__main__ import main; main(['train', '--help']); "
        "print([name for name in ('torch', 'lightning', 'hydra', 'polars') if name in sys.modules])"
    )
    said = said_by("-c", program)
    assert said.splitlines()[-1] == "[]"
    assert "model=…" in said


def test_missing_package_names_the_extra(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "hydra", None)
    for name in ("training.cli.command", "training.make_key"):  # another test may have loaded them
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert main(["make-key"]) == 2
    assert "pip install 'marquee[train]'" in capsys.readouterr().err


def complete(line: str, request: str = "query=bash") -> str:
    """Returns the completions that the shell gets for a line."""
    return said_by("-m", "marquee_cli", "-sc", request, COMP_LINE=line)


def test_tab_completes_commands_then_choices_and_keys() -> None:
    assert complete("marquee tr").split() == list(COMMANDS)
    assert complete("marquee train loss=bp") == "loss=bpr"
    assert complete("marquee serve ") == ""


def test_completion_is_installed_for_the_program() -> None:
    assert complete("", "install=bash").endswith("hydra_bash_completion marquee")


def test_serve_turns_keys_into_settings_and_keeps_flags() -> None:
    arguments, settings = command_line(["bundle=b", "host=0.0.0.0", "keys=k.json", "--api-workers", "2"])
    assert arguments[2:] == ["--host", "0.0.0.0", "--port", "3000", "--api-workers", "2"]
    assert settings == {"MARQUEE_BUNDLE": "b", "MARQUEE_KEYS": "k.json"}


def test_serve_without_a_bundle_says_how_to_name_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MARQUEE_BUNDLE", raising=False)
    monkeypatch.delenv("MARQUEE_SURFACES", raising=False)
    assert serve([]) == 2
    assert capsys.readouterr().err.strip() == USAGE
