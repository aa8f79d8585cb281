"""The loop on the log of a small market publishes a better model, refuses a worse one, survives being killed.

The first release of the module knows nothing. What follows is judged beside it.
"""

import json
import shutil
from dataclasses import fields, replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from marquee.bundle.bundle import Bundle
from marquee.bundle.manifest import CARD_FILES, KnownUntil
from marquee.data.config import DataConfig
from marquee.data.split_config import SplitConfig
from marquee.data.table_config import TableConfig
from marquee.nn.architectures import TwoTowerConfig
from marquee.nn.initialisation.tables import InitialisationConfig
from marquee.nn.optimizers import LazyAdamConfig
from marquee.reports.evidence.card import CardWords
from marquee.store.files import watching_steps
from marquee.store.log.sqlite import SqliteEventLog
from marquee.store.log.sqlite_file import try_lock
from marquee.store.signing import TrustedKeys, write_key_pair
from marquee.world import World
from tests.support.event_stores import NOW, event
from tests.support.small_config import small_config
from tests.support.world_log import tell_world
from training.config import TrainerConfig
from training.fitting.warm_start import WarmStartConfig
from training.judging.gate import GateConfig, GuardrailConfig
from training.loop import EXIT_LOCKED, EXIT_REFUSED, LoopConfig, loop
from training.looping.journal import Journal

DAY = 86_400
NO_STEP = 1e-9


class KilledError(BaseException):
    """Stands for the end of the process: nothing may catch it."""


@pytest.fixture(scope="module")
def begun(tiny_world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A folder with a log and its first release, which has learned nothing; and the end of the log."""
    home = tmp_path_factory.mktemp("loop")
    log = SqliteEventLog(home / "log")
    end = tell_world(log, tiny_world)
    log.close()
    write_key_pair(home / "key")
    status, said = run(_untrained(home, end - 6 * DAY))
    assert status == 0, said
    assert "judging alone, for nothing is served yet" in said
    return home, end


@pytest.fixture(scope="module")
def improved(begun: tuple[Path, int]) -> tuple[Path, str]:
    """The same folder after a second loop, which has learned something, and what that one said."""
    home = begun[0].with_name("improved")
    shutil.copytree(begun[0], home)
    status, said = run(_config(home, begun[1] - 2 * DAY))
    assert status == 0, said
    return home, said


@pytest.fixture
def home(begun: tuple[Path, int], tmp_path: Path) -> Path:
    return shutil.copytree(begun[0], tmp_path / "home")


def _config(home: Path, cutoff: int) -> LoopConfig:
    data = DataConfig(
        name="shop", events=TableConfig(path="events/*.parquet"), split=SplitConfig(test_fraction=0.2)
    )
    training = small_config(data, str(home / "runs"))
    rail = GuardrailConfig(metric="ndcg@10", against="bundle", margin=0.02)
    return LoopConfig(
        **{name: value for name, value in vars(training).items() if name not in ("start", "trainer")},
        start=WarmStartConfig(),
        trainer=TrainerConfig(epochs=4, accelerator="cpu", patience=0),
        log=str(home / "log"),
        cutoff=str(cutoff),
        folder=str(home / "loop"),
        bundles=str(home / "bundles"),
        signing_key=str(home / "key"),
        gate=GateConfig(bundle=str(home / "bundles" / "shop"), guardrails={"served": rail}),
        card=CardWords(**{one.name: f"words on {one.name}" for one in fields(CardWords)}),
    )


def _untrained(home: Path, cutoff: int) -> LoopConfig:
    """A loop whose model stays as random as it begins."""
    config = _config(home, cutoff)
    return replace(
        config,
        start=InitialisationConfig(),
        optimizer=LazyAdamConfig(learning_rate=NO_STEP),
        trainer=TrainerConfig(epochs=1, accelerator="cpu"),
    )


def run(config: LoopConfig) -> tuple[int, str]:
    out = StringIO()
    return loop(config, 0, Console(file=out, width=1000)), out.getvalue()


def served(home: Path) -> Bundle:
    return Bundle.load(home / "bundles" / "shop", TrustedKeys.read(home / "key.pub"))


def test_better_model_is_published_signed_from_the_weights_of_the_last(
    begun: tuple[Path, int], improved: tuple[Path, str]
) -> None:
    (home, said), before = improved, served(begun[0]).version
    assert served(home).version != before
    read = home / "runs" / "shop" / f"loop-{begun[1] - 2 * DAY}" / "quality.json"
    assert served(home).manifest.created <= read.stat().st_mtime, "a change made meanwhile is newer than it"
    last = Journal.read(home / "loop" / "shop").last
    assert last is not None
    assert served(home).manifest.known_until == KnownUntil(sequence=last.known)
    assert served(home).click_counts is not None, "a policy that learns from clicks alone draws by them"
    assert served(home).manifest.files.keys() >= CARD_FILES
    assert "words on owner" in (served(home).path / "card.md").read_text()
    assert f"judging beside {before}" in said
    assert f"ndcg@10 minus that of {before}, which is served, on the same events: +0." in said
    config = (home / "runs" / "shop" / f"loop-{begun[1] - 2 * DAY}" / "config.yaml").read_text()
    assert f"run: {begun[0] / 'runs' / 'shop' / f'loop-{begun[1] - 6 * DAY}'}" in config
    again, said = run(_config(home, begun[1] - 2 * DAY))
    assert (again, "nothing new" in said) == (0, True)


def test_worse_model_is_refused_with_the_reason_and_what_is_served_stays(
    begun: tuple[Path, int], improved: tuple[Path, str], tmp_path: Path
) -> None:
    home = shutil.copytree(improved[0], tmp_path / "home")
    before = served(home).version
    untrained = _untrained(home, begun[1])
    split = SplitConfig(test_fraction=0.4)  # begins before the cutoff of what is served
    status, said = run(replace(untrained, data=replace(untrained.data, split=split)))
    assert (status, served(home).version) == (EXIT_REFUSED, before)
    assert "refused: served: ndcg@10 minus that of bundle is -0." in said
    run_folder = home / "runs" / "shop" / f"loop-{begun[1]}"
    written = (run_folder / "config.yaml").read_text(encoding="utf-8")
    assert f"test_from: '{begun[1] - 2 * DAY}'" in written
    judged = json.loads((run_folder / "evaluation.json").read_text(encoding="utf-8"))
    assert {"model", "bundle", "popularity"} <= judged["evaluation"]["models"].keys()


def test_model_of_another_shape_starts_afresh(begun: tuple[Path, int], home: Path) -> None:
    wider = replace(_config(home, begun[1]), model=TwoTowerConfig(dim=4, hidden=8))
    status, said = run(wider)
    assert "a fresh start, for the last release has another shape" in said
    assert (status, served(home).manifest.dim) == (0, 4 + 1)


def test_log_that_holds_too_little_is_refused_before_training(tmp_path: Path) -> None:
    log = SqliteEventLog(tmp_path / "log")
    log.append([event(f"e{n}", timestamp=NOW + n, item_id=f"i{n}") for n in range(3)])
    status, said = run(_config(tmp_path, NOW + DAY))
    assert (status, "step 2" in said) == (EXIT_REFUSED, False)
    assert "refused: the log does not hold enough to judge a model by: the" in said
    log.append(
        [event(f"f{n}", timestamp=NOW + 3 + n, item_id=f"i{3 + n}", received=NOW + DAY) for n in range(20)]
    )
    log.close()
    status, said = run(_config(tmp_path, NOW + 2 * DAY))
    assert (status, "step 2" in said) == (EXIT_REFUSED, False)
    assert "to judge a model by: 1 user did something that the served release cannot know" in said


def test_second_loop_at_a_time_is_turned_away(begun: tuple[Path, int], home: Path) -> None:
    with try_lock(home / "loop" / "shop" / ".lock") as is_alone:
        assert is_alone
        status, said = run(_config(home, begun[1]))
    assert (status, "another loop is at work" in said) == (EXIT_LOCKED, True)


@pytest.mark.slow
def test_loop_killed_at_every_step_goes_on_to_the_same_release(
    begun: tuple[Path, int], improved: tuple[Path, str], home: Path
) -> None:
    before, watch, status = served(home).version, Watch(), None
    while status is None:
        try:
            with watching_steps(watch):
                status, _ = run(_config(home, begun[1] - 2 * DAY))
        except KilledError:
            assert len(watch.killed) < len(watch.KINDS) * 10
            is_out = served(home).version != before
            assert not is_out or any("rename CURRENT" in step for step in watch.killed)
    assert (status, len(watch.killed) > 12) == (0, True), watch.killed
    assert served(home).manifest.metrics == served(improved[0]).manifest.metrics
    assert len(list((home / "bundles" / "shop").glob("*/manifest.json"))) == 2
    ended = Journal.read(home / "loop" / "shop")
    assert (ended.current, ended.last and ended.last.outcome) == (None, "published")


class Watch:
    """Ends the process before it notes a result, and before what others see changes: once at each step."""

    KINDS = ("note ", "rename loop.json", "rename table", "rename the folder", "rename CURRENT", "remove ")

    def __init__(self) -> None:
        self.killed: list[str] = []
        self._noted = ""

    def __call__(self, step: str) -> None:
        """Ends the process if it has not ended at this step before."""
        if step.startswith("note "):
            self._noted = step
        at = f"{self._noted}: {step}"
        if step.startswith(self.KINDS) and at not in self.killed:
            self.killed.append(at)
            raise KilledError(at)
