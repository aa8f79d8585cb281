"""Training on two processes beside one: how fast, how well, and whether it comes to the same numbers.

Speed is that of steps: the shortest epoch of each, after the first, with one thread per process. Both are
trained in turn, several times, so that a machine that slows down slows both.
"""

import logging
import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor

from benchmarks.experiments import compose_config
from benchmarks.fits import prepare_data
from benchmarks.rows import Measured, Row
from benchmarks.scale.sizes import SIZES
from benchmarks.train_speed_growth import TimeEpochs
from marquee.nn.architectures import TwoTowerConfig
from marquee.nn.negatives import MixedNegativesConfig
from training.config import TablePlacement, TrainConfig
from training.fitting.fit import Fitted, fit, ranking
from training.fitting.ranks.team import open_team

TURNS, EPOCHS, LARGE_BATCH = 3, 3, 4096
SEEDS, SEED_EPOCHS = (1, 2, 3), 5
N_STEPS, TOLERANCE = 100, 1e-5
# Adam divides a gradient by its own size: where rounding is all of it, weights differ by a share of the rate.
PARITY_RATE = 0.001
MIN_SPEED_UP = 1.7
TABLES = ("user_table", "item_table", "bias_table")
UNSEEN = "item_tower.base_bias"
"""It moves all scores alike, which no softmax sees: its gradient is rounding, which Adam makes a step of."""


def rows(_: Path) -> Iterator[Row]:
    """Yields the rows."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    yield Row("train on 2 processes", "trial 1.5 times one", f"≥ {MIN_SPEED_UP} times one", _speed)
    yield Row("ndcg of 2 processes", "one process, 3 seeds each", "equal within seeds", _quality)
    must = f"weights within {TOLERANCE:g} after {N_STEPS} steps"
    yield Row("2 processes against 1, same global batch", "trial exact", must, _parity)


def _config(n_ranks: int, *overrides: str) -> TrainConfig:
    """Returns the config of one training: the defaults of the menu, and what is said here."""
    data = "movielens-1m" if SIZES.is_large else "movielens-100k"
    fixed = ("~tuned", "trainer.accelerator=cpu", "trainer.threads=1", "trainer.patience=0")
    return compose_config([f"data={data}", *fixed, f"trainer.devices={n_ranks}", *overrides])


def _speed() -> Measured:
    """Times the steps of one process and of two, in turn."""
    configs = {
        n: _config(n, f"trainer.epochs={EPOCHS}", f"examples.batch_size={LARGE_BATCH}") for n in (1, 2)
    }
    dataset = prepare_data(configs[1].data.name).dataset
    ratios, shortest = [], {1: math.inf, 2: math.inf}
    with open_team(configs[2].trainer) as team, tempfile.TemporaryDirectory() as folder:
        for turn in range(TURNS):
            seconds = {}
            for n, config in configs.items():
                clock = TimeEpochs(time.perf_counter)
                run = Path(folder) / f"{turn}-{n}"
                fit(dataset, None, config, run, [clock], team if n > 1 else None)
                seconds[n] = min(clock.seconds[1:])
                shortest[n] = min(shortest[n], seconds[n])
            ratios.append(seconds[1] / seconds[2])
    n_examples = len(dataset.train.item_index)
    ratio = float(np.median(ratios))
    rates = " and ".join(f"{n_examples / shortest[n]:,.0f}" for n in (1, 2))
    said = f"{ratio:.2f} times one ({min(ratios):.2f} to {max(ratios):.2f}); {rates} examples/s"
    return Measured(said, ratio >= MIN_SPEED_UP)


def _quality() -> Measured:
    """Compares validation NDCG of one process and of two over seeds."""
    configs = {n: _config(n, f"trainer.epochs={SEED_EPOCHS}") for n in (1, 2)}
    prepared = prepare_data(configs[1].data.name)
    assert prepared.validation is not None, "expected a validation part to rank"
    found: dict[int, list[float]] = {1: [], 2: []}
    with open_team(configs[2].trainer) as team, tempfile.TemporaryDirectory() as folder:
        for seed in SEEDS:
            for n, config in configs.items():
                seeded, run = replace(config, seed=seed), Path(folder) / f"{seed}-{n}"
                together = team if n > 1 else None
                fitted = fit(prepared.dataset, prepared.validation, seeded, run, team=together)
                ndcg, _ = ranking(prepared.dataset, prepared.validation, seeded).rank(fitted.model)
                found[n].append(ndcg)
    means = {n: float(np.mean(values)) for n, values in found.items()}
    # Of a difference of two means, twice.
    spread = 2 * math.sqrt(sum(float(np.var(values, ddof=1)) / len(SEEDS) for values in found.values()))
    return Measured(
        f"ndcg@10 {means[1]:.4f} with one, {means[2]:.4f} with two; seeds spread {spread:.4f}",
        abs(means[1] - means[2]) <= max(spread, 0.005),
    )


def _parity() -> Measured:
    """Compares weights after the same batches, with whole tables and with tables in parts."""
    config = _config(
        1, "trainer.epochs=1", f"trainer.overfit_batches={N_STEPS}", f"optimizer.learning_rate={PARITY_RATE}"
    )
    model = TwoTowerConfig(
        hidden=32, dropout=0.0, history_dropout=0.0, user_id_dropout=0.0, item_id_dropout=0.0
    )
    # The candidates are the batch's own targets: processes would draw others than one does.
    config = replace(config, model=model, negatives=MixedNegativesConfig(n_uniform=0))
    dataset = prepare_data(config.data.name).dataset
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        one = _weights(fit(dataset, None, config, Path(folder) / "one"))
        two = replace(config, trainer=replace(config.trainer, devices=2))
        with open_team(two.trainer) as team:
            for tables in TablePlacement:
                placed = replace(two, trainer=replace(two.trainer, tables=tables))
                fitted = fit(dataset, None, placed, Path(folder) / tables.value, team=team)
                found[tables.value] = _difference(one, _weights(fitted))
    said = ", ".join(f"{name} {difference:.1e}" for name, difference in found.items())
    return Measured(f"largest difference of a weight: {said}", max(found.values()) <= TOLERANCE)


def _weights(fitted: Fitted) -> dict[str, Tensor]:
    """Returns all weights of a model, also of tables that lie in files."""
    tables = {f"{name}.weight": getattr(fitted.model, name).weight.detach() for name in TABLES}
    return {**fitted.model.state_dict(), **tables}


def _difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Returns the largest difference of a weight that the loss can see."""
    return max(float((one[name] - other[name]).abs().max()) for name in one if name != UNSEEN)
