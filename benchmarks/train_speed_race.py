"""The race of `train_speed`: every contestant fits in a process of its own, and one judge watches them all.

A contestant hands over vectors after its epochs and waits while they are judged (see `peers.protocol`): its
clock counts fitting alone, whatever library it is of. The judge ranks the whole catalog for every user of
the validation part, and never sees a test part.
"""

import json
import math
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.peers.protocol import GO, ITEMS_FILE, QUERIES_FILE, Pairs
from marquee.core.arrays import IndexArray
from marquee.data.dataset import Dataset
from marquee.errors import DataError
from marquee.evaluation.evaluation import EvaluationTask, evaluate
from marquee.index.ranking import inner_product_scores
from training.config import TrainConfig
from training.runs.prepare import prepare

K = 20
DIGITS = 4  # that tables print
METRIC, RECALL = f"ndcg@{K}", f"recall@{K}"
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Entry:
    """A contestant at one setting.

    Attributes:
        name: As the tables print it.
        module: Of `benchmarks.peers`.
        package: That its interpreter must have.
        settings: The contestant's own.
        every: Epochs from one judgement to the next.
    """

    name: str
    module: str
    package: str
    settings: Mapping[str, Any]  # Any: settings are the contestant's own
    every: int = 1


@dataclass(frozen=True)
class Lap:
    """The figures of one judgement.

    Attributes:
        epoch: Passes over the data so far; 0 before the first step.
        seconds: Of fitting so far.
        processor_seconds: The same in processor time, which other work on the machine changes less.
        ndcg: How good the vectors are.
        recall: The same.
    """

    epoch: int
    seconds: float
    processor_seconds: float
    ndcg: float
    recall: float

    def __str__(self) -> str:
        figures = f"{METRIC} {self.ndcg:.4f}  {RECALL} {self.recall:.4f}"
        seconds = f"{self.seconds:8.2f} s, of processors {self.processor_seconds:8.2f} s"
        return f"epoch {self.epoch:4d} {seconds}  {figures}"


@dataclass(frozen=True)
class Run:
    """How one contestant did."""

    entry: Entry
    laps: list[Lap]
    peak_mib: float
    versions: Mapping[str, str]

    @property
    def best(self) -> Lap:
        """The judgement with the highest NDCG, the first of them."""
        return max(self.laps, key=lambda lap: lap.ndcg)

    def reaches(self, ndcg: float) -> Lap | None:
        """Returns the first judgement at which it was that good; None if there is none."""
        return next((lap for lap in self.laps if lap.ndcg >= ndcg), None)


@dataclass(frozen=True)
class Judge:
    """Knows the validation part.

    Attributes:
        task: What is asked.
        user_index: Of each query, (n_queries,) int64; 0 for a user whom training does not know.
        pairs: The training part, as contestants see it.
    """

    task: EvaluationTask
    user_index: IndexArray
    pairs: Pairs

    @classmethod
    def of(cls, config: TrainConfig) -> "Judge":
        """Returns the judge of a config's data.

        Raises:
            DataError: If its split has no validation part.
        """
        with tempfile.TemporaryDirectory() as folder:
            prepared = prepare(config, Path(folder), Console(stderr=True, quiet=True))
        if prepared.validation is None:
            raise DataError(
                f"a race is judged on the validation part, got none of {config.data.name}; see data.split"
            )
        return cls(
            config.evaluation.task(prepared.validation, prepared.dataset.n_items, [K]),
            prepared.validation.queries.user_index,
            _pairs(prepared.dataset),
        )

    def judge(self, folder: Path) -> tuple[float, float]:
        """Returns NDCG and recall of the vectors in a folder."""
        queries, items = np.load(folder / QUERIES_FILE), np.load(folder / ITEMS_FILE)
        queries, items = (np.pad(vectors, ((1, 0), (0, 0))) for vectors in (queries, items))  # row 0: unknown
        scorer = inner_product_scores(queries[self.user_index], items)
        found = evaluate({"contestant": scorer}, self.task, np.random.default_rng(0), n_resamples=1)
        estimates = found.models["contestant"].estimates
        return estimates[METRIC].mean, estimates[RECALL].mean


def _pairs(dataset: Dataset) -> Pairs:
    """Returns the training part, counted from 0."""
    return Pairs(dataset.train.offsets[1:], dataset.train.item_index.astype(np.int64) - 1, dataset.n_items)


def run(
    entry: Entry,
    judge: Judge,
    python: str,
    *,
    threads: int,
    goes_on: Callable[[Sequence[Lap]], bool] = lambda _: True,
    show: Callable[[str], None] = print,
) -> Run:
    """Returns how a contestant did, judged until it is done or `goes_on` says no.

    Args:
        entry: The contestant.
        judge: Who judges.
        python: Interpreter that has its library.
        threads: Of the contestant.
        goes_on: Told the laps so far.
        show: Told each lap, as a line.

    Raises:
        DataError: If the contestant breaks off; the message holds its last words.
    """
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryFile("w+") as words:
        folder = Path(name)
        judge.pairs.write(folder)
        asked = json.dumps({"settings": dict(entry.settings), "every": entry.every, "threads": threads})
        laps: list[Lap] = []
        last: dict[str, Any] = {}
        with subprocess.Popen(
            [python, "-m", f"benchmarks.peers.{entry.module}", name, asked],
            cwd=folder,
            env=_environment(threads),
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=words,
        ) as process:
            for last in _spoken(process):
                if "epoch" in last:
                    seconds = last["seconds"], last["processor_seconds"]
                    laps.append(Lap(last["epoch"], *seconds, *judge.judge(folder)))
                    show(f"{entry.name:24s} {laps[-1]}")
                    _answer(process, GO if goes_on(laps) else "stop")
        if "peak_mib" not in last or not laps:
            words.seek(0)
            raise DataError(
                f"{entry.name} broke off with exit status {process.returncode} after {len(laps)} judgements, "
                f"expected vectors and its peak memory; its last words:\n{words.read()[-2000:]}"
            )
    return Run(entry, laps, last["peak_mib"], last["versions"])


def _spoken(process: "subprocess.Popen[str]") -> Iterator[dict[str, Any]]:
    """Yields the lines of JSON that a contestant prints; what its library prints is no concern of ours."""
    assert process.stdout is not None, "expected a pipe"
    for line in process.stdout:
        if line.startswith("{"):
            yield json.loads(line)


def _answer(process: "subprocess.Popen[str]", word: str) -> None:
    """Tells a contestant what it waits for."""
    assert process.stdin is not None, "expected a pipe"
    process.stdin.write(f"{word}\n")
    process.stdin.flush()


def _environment(threads: int) -> dict[str, str]:
    """Returns the environment of a contestant: as many threads for everybody.

    Only OpenMP's are given: implicit runs threads of its own around one of BLAS, as it asks for, and torch
    is told by each contestant.
    """
    libraries = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": str(threads)}
    places = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, **libraries, "PYTHONPATH": places}


@dataclass(frozen=True)
class Duel:
    """A peer at the best it reached, and when we were as good.

    Attributes:
        peer: Its run.
        at: The first judgement at which it was as good as it gets, to `DIGITS`.
        ours: Our first judgement that was as good; None if there is none.
    """

    peer: Run
    at: Lap
    ours: Lap | None

    @classmethod
    def of(cls, peer: Run, ours: Sequence[Run]) -> "Duel":
        """Returns the duel of a peer with the fastest of our runs."""
        # What is printed alike is alike: the last digits of a plateau shall not cost the peer its time.
        level = math.floor(peer.best.ndcg * 10**DIGITS) / 10**DIGITS
        at = peer.reaches(level)
        assert at is not None, f"expected {peer.entry.name} to reach its own best, {level}"
        reached = [lap for run in ours if (lap := run.reaches(level)) is not None]
        return cls(peer, at, min(reached, key=lambda lap: lap.seconds, default=None))

    @property
    def is_won(self) -> bool:
        """Whether we were there first."""
        return self.ours is not None and self.ours.seconds < self.at.seconds


def report_race(peers: Sequence[Run], equal: Run, best: Run, show: Callable[[str], None]) -> bool:
    """Shows who reached what, and when; returns whether ours was as good as each peer before it was.

    Args:
        peers: Their runs.
        equal: Ours with the settings for equal quality.
        best: Ours with the settings for the best quality.
        show: Told each line.
    """
    head = f"{'at its best':24s} {METRIC:>8s} {RECALL:>10s} {'epochs':>7s}"
    show(f"\n{head} {'after':>9s} {'processors':>10s} {'peak memory':>12s}")
    for contestant in (*peers, equal, best):
        lap = contestant.best
        show(
            f"{contestant.entry.name:24s} {lap.ndcg:8.4f} {lap.recall:10.4f} {lap.epoch:7d} "
            f"{lap.seconds:7.1f} s {lap.processor_seconds:8.1f} s {contestant.peak_mib:8,.0f} MiB  "
            f"{_words(contestant.versions)}"
        )
    head = f"{'to equal quality':24s} {METRIC:>8s} {'peer':>9s} {'ours':>9s}"
    show(f"\n{head} {'times as fast (required: above 1)':>34s} {'in processor time':>18s}")
    duels = [Duel.of(peer, (equal, best)) for peer in peers]
    for duel in duels:
        start = f"{duel.peer.entry.name:24s} {duel.at.ndcg:8.4f} {duel.at.seconds:7.2f} s"
        if duel.ours is None:
            show(f"{start} {'never':>9s}")
        else:
            wall = duel.at.seconds / duel.ours.seconds
            processors = duel.at.processor_seconds / duel.ours.processor_seconds
            show(f"{start} {duel.ours.seconds:7.2f} s {wall:34.1f} {processors:18.1f}")
    return all(duel.is_won for duel in duels)


def _words(versions: Mapping[str, str]) -> str:
    """Returns names and versions as a person writes them."""
    return ", ".join(f"{name} {version}" for name, version in versions.items())
