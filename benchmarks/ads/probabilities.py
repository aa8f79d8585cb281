"""Clicks of the simulated market: the head of a run on the last tenth of the events, beside the truth.

Each seed is a market and a run of its own, by the settings of `data=world`. The last tenth is the test part:
it is read once per seed, after towers were trained and a head was fitted and calibrated on earlier events.
"""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console

from benchmarks.experiments import compose_config
from benchmarks.rows import Measured, Row
from marquee.bundle.clicks.head import Asker, ClickHead
from marquee.core.arrays import Float64Array
from marquee.evaluation.probabilities.metrics import auc, normalised_entropy
from marquee.nn.embed import embed_catalog
from marquee.nn.models import TwoTower
from marquee.world import World, WorldConfig, simulate, write_world
from training.exporting.click_head import head_contents
from training.fitting.fit import fit
from training.fitting.probabilities.described import parts_of
from training.fitting.probabilities.run import HeadOfRun, fit_head_of_run
from training.fitting.probing import settle_and_probe
from training.runs.prepare import Prepared, prepare

SEEDS = (0, 1, 2, 3)
LEAST_AUC, MOST_ENTROPY, MOST_ERROR = 0.80, 0.845, 0.008
N_CANDIDATES, N_TIMED, MOST_MS = 200, 500, 1.0
RATIO, RATIO_OF_ADS = (0.93, 1.07), (0.85, 1.15)


@dataclass(frozen=True)
class Judged:
    """Measures of a head on the last tenth of a market.

    Attributes:
        auc: Of clicks.
        entropy: Normalised entropy of clicks.
        ratio: Mean of what was said over mean of the truth.
        ratio_of_ads: The same of ads alone.
        error: How far what was said is from the truth, on average over ten bins of equal size.
        truth: AUC and normalised entropy of the truth itself.
    """

    auc: float
    entropy: float
    ratio: float
    ratio_of_ads: float
    error: float
    truth: tuple[float, float]


def rows(_: Path) -> Iterator[Row]:
    """Yields the row of each head, and that of its time."""
    must = (
        f"have a mean AUC of {LEAST_AUC:.2f} or more and a mean NE of {MOST_ENTROPY} or less; each seed: "
        f"said over true {RATIO[0]} to {RATIO[1]}, of ads {RATIO_OF_ADS[0]} to {RATIO_OF_ADS[1]}, error at "
        f"most {MOST_ERROR}"
    )
    reference = "head in reports .760/.888, logistic on statistics .790/.849, truth .911/.643 (AUC/NE)"
    for name in ("cross", "logistic"):
        yield Row(
            f"probabilities of clicks: {name}",
            reference,
            must,
            lambda name=name: measure(name),  # type: ignore[misc]
        )
    yield Row(
        f"probabilities of {N_CANDIDATES} candidates, one core",
        "prototype 0.3 ms",
        f"take {MOST_MS:g} ms or less in the middle",
        measure_time,
    )


def measure(name: str) -> Measured:
    """Judges a head by the menu's name on every market."""
    judged = [judge(seed, name) for seed in SEEDS]
    mean_auc, mean_entropy = (
        float(np.mean([getattr(one, what) for one in judged])) for what in ("auc", "entropy")
    )
    is_within = mean_auc >= LEAST_AUC and mean_entropy <= MOST_ENTROPY
    for one in judged:
        is_within &= RATIO[0] <= one.ratio <= RATIO[1]
        is_within &= RATIO_OF_ADS[0] <= one.ratio_of_ads <= RATIO_OF_ADS[1]
        is_within &= one.error <= MOST_ERROR
    truth = np.mean([one.truth for one in judged], axis=0)
    each = "; ".join(f"{one.ratio:.3f}, ads {one.ratio_of_ads:.3f}, error {one.error:.4f}" for one in judged)
    return Measured(
        f"AUC {mean_auc:.4f}, NE {mean_entropy:.4f} (truth {truth[0]:.3f}, {truth[1]:.3f}); said over true "
        f"{each}",
        is_within,
    )


def measure_time() -> Measured:
    """Times a head of the first market as a service asks it, one user after the other."""
    trained = train(SEEDS[0])
    of_run = trained.head("cross")
    dataset = trained.prepared.dataset
    known = dataset.known_users(trained.prepared.events)
    vectors = embed_catalog(trained.model)
    head = ClickHead(
        head_contents(of_run, known.user_ids), vectors, has_item_bias=trained.model.config.item_bias
    )
    rng = np.random.default_rng(0)
    moment = int(of_run.exposures.shown.timestamp[-1]) + 1
    taken = []
    for user in rng.integers(1, len(known.user_ids) + 1, N_TIMED).tolist():
        items = rng.integers(1, dataset.n_items + 1, N_CANDIDATES)
        place = rng.integers(1, len(head.places), N_CANDIDATES)
        asker = Asker(user, vectors[items[0]], known.features.tokens[user : user + 1], moment)
        started = time.perf_counter()
        said = head.probabilities(asker, head.own_items(items), place)
        taken.append(1000 * (time.perf_counter() - started))
        assert said.is_finite.all(), "a head must say something of every item of its catalog"
    middle, late = np.quantile(taken, [0.5, 0.99])
    return Measured(f"{middle:.2f} ms in the middle, {late:.2f} ms at 99 %", bool(middle <= MOST_MS))


def judge(seed: int, name: str) -> Judged:
    """Returns how good a head is on the last tenth of a market."""
    trained = train(seed)
    head = trained.head(name)
    moments = head.exposures.shown.timestamp
    is_test = moments >= parts_of(trained.prepared.split, moments).test
    said = head.head.probabilities(head.exposures, np.flatnonzero(is_test))[:, 0].astype(np.float64)
    shown = head.exposures.shown
    clicked, truth = shown.is_clicked[is_test], true_probabilities(trained.world, head)[is_test]
    is_ad = head.exposures.numbers[shown.item[is_test], -1] > 0
    return Judged(
        auc=auc(said, clicked),
        entropy=normalised_entropy(said, clicked),
        ratio=float(said.mean() / truth.mean()),
        ratio_of_ads=float(said[is_ad].mean() / truth[is_ad].mean()),
        error=error_to_truth(said, truth),
        truth=(auc(truth, clicked), normalised_entropy(truth, clicked)),
    )


@dataclass(frozen=True)
class Trained:
    """A market, and towers trained on it: every head stands upon the same."""

    world: World
    prepared: Prepared
    model: TwoTower

    def head(self, name: str) -> HeadOfRun:
        """Returns a head by the menu's name."""
        with tempfile.TemporaryDirectory() as folder:
            config = compose_config([f"data.root={folder}", f"probabilities={name}", "trainer=cpu"])
            dataset, split = self.prepared.dataset, self.prepared.split
            head = fit_head_of_run(dataset, split, self.model, config, Path(folder))
        assert isinstance(head, HeadOfRun), f"a market has exposures, got {head}"
        return head


@cache
def train(seed: int) -> Trained:
    """Returns a market with its towers."""
    world, console = simulate(WorldConfig(seed=seed)), Console(quiet=True)
    with tempfile.TemporaryDirectory() as folder:
        write_world(world, Path(folder) / "world")
        config = compose_config([f"data.root={folder}/world", f"runs={folder}/runs", "trainer=cpu"])
        prepared = prepare(config, Path(folder), console)
        config = settle_and_probe(config, prepared.dataset, prepared.validation, Path(folder), console)
        model = fit(prepared.dataset, prepared.validation, config, Path(folder)).model
    return Trained(world, prepared, model)


def true_probabilities(world: World, head: HeadOfRun) -> Float64Array:
    """Returns the true probability of a click on each exposure of a head, (n,)."""
    pair = ("request_id", "item_id")
    of_world = world.events.filter(pl.col("kind") == "exposure").select(pl.col(pair).cast(pl.String))
    shown = head.exposures.shown
    requests = shown.frame["request_id"].cast(pl.String).gather(shown.request)
    asked = pl.DataFrame({"request_id": requests, "item_id": head.item_ids.decode(shown.item.tolist())})
    true = of_world.with_columns(true=pl.Series(world.exposure_click_probability))
    return asked.join(true, on=pair, how="left", maintain_order="left")["true"].to_numpy()


def error_to_truth(said: Float64Array, truth: Float64Array) -> float:
    """Returns how far what was said is from the truth, on average over ten bins of equal size."""
    # The truth in place of outcomes: `calibration_error` would add the luck of the draws.
    order = np.argsort(said, kind="stable")
    bins = np.array_split(order, 10)
    return float(np.mean([abs(said[rows].mean() - truth[rows].mean()) for rows in bins]))
