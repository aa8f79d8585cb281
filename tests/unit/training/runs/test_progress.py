"""How far a long ranking is, on a terminal and in a log, and what a person reads who stops it."""

from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from marquee.nn.architectures import TwoTowerConfig
from marquee.nn.losses import SampledSoftmaxConfig
from marquee.nn.negatives import MixedNegativesConfig
from marquee.nn.optimizers import LazyAdamConfig
from tests.support.small_data import write_shop
from training.config import TrainConfig
from training.runs.progress import ranking_progress
from training.train import train


def _console(*, is_terminal: bool) -> tuple[Console, StringIO]:
    written = StringIO()
    return Console(file=written, force_terminal=is_terminal, width=200), written


def test_a_log_gets_a_line_now_and_then() -> None:
    console, written = _console(is_terminal=False)
    moments = iter([0.0, 10.0, 31.0, 40.0, 62.0])
    with ranking_progress(console, lambda: next(moments)) as progress:
        for done in (100, 200, 300):
            progress("model", done, 1000)
        progress("item_knn", 1000, 1000)
    assert written.getvalue().splitlines() == [
        "ranking model: 200 of 1,000 users",
        "ranking item_knn: 1,000 of 1,000 users",
    ]


def test_a_terminal_gets_a_bar_for_each_model_and_they_go_on_an_interruption() -> None:
    console, written = _console(is_terminal=True)

    def stop_in_the_middle() -> None:
        with ranking_progress(console) as progress:
            progress("model", 1000, 1000)
            progress("item_knn", 250, 1000)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_in_the_middle()
    assert "ranking item_knn" in written.getvalue()
    assert "250/1000" in written.getvalue()
    assert written.getvalue().endswith("\x1b[2K")  # the last thing done is to clear the lines


def test_a_run_that_is_stopped_while_judging_says_how_to_judge_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(
        "training.fitting.fit.fit", lambda *_, **__: SimpleNamespace(interrupted=False, model=None)
    )
    monkeypatch.setattr("training.judging.judge.judge", interrupt)
    config = TrainConfig(
        runs=str(tmp_path / "runs"),
        data=write_shop(tmp_path),
        model=TwoTowerConfig(),
        loss=SampledSoftmaxConfig(),
        negatives=MixedNegativesConfig(),
        optimizer=LazyAdamConfig(),
    )
    console, written = _console(is_terminal=False)
    with pytest.raises(SystemExit) as ended:
        train(config, console)
    (run,) = (tmp_path / "runs" / "shop").glob("2*")
    assert ended.value.code == 130
    assert written.getvalue().endswith(
        "interrupted while judging; the model is kept, judge it with "
        f"`python -m training.evaluate run={run}`\n"
    )
