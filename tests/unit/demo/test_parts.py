"""The commands by which the demo prepares and scores in parts."""

from pathlib import Path

import pytest

from demo import parts
from demo.__main__ import read_options
from demo.errors import DemoError


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    given: list[list[str]] = []
    monkeypatch.setattr(parts, "run_command", lambda _title, arguments: given.append(list(arguments)))
    return given


def test_cluster_is_no_setting_of_training() -> None:
    options = read_options(["data=world", "cluster=ray", "trainer.epochs=2"])
    assert (options.cluster, options.overrides) == ("ray", ("trainer.epochs=2",))
    assert read_options([]).cluster == ""


def test_unknown_cluster_is_refused() -> None:
    with pytest.raises(DemoError, match="cluster must be local or ray, or left out, got 'spark'"):
        read_options(["cluster=spark"])


def test_training_reads_what_was_prepared_with_the_settings_of_the_data(commands: list[list[str]]) -> None:
    overrides = ("data.root=here", "trainer.epochs=2", "data.world.n_days=30")
    assert parts.prepare("ray", "world", Path("to"), overrides) == "data.prepared=to"
    (command,) = commands
    assert {"data=world", "to=to", "cluster=ray", "data.root=here", "data.world.n_days=30"} <= set(command)
    assert "trainer.epochs=2" not in command


def test_all_users_of_the_bundle_are_scored(commands: list[list[str]]) -> None:
    parts.score("local", Path("bundle"), Path("scores"), 5)
    assert {"bundle=bundle", "to=scores", "k=5", "cluster=local"} <= set(commands[0])
