"""Attributes beside a sequence: a transformer with and without what is known of films and users.

    python -m benchmarks.sequences --check            MovieLens 100K, three seeds of each arm
    python -m benchmarks.sequences --validation       the same on each user's last film but one

Each user's last film is the test, the one before it the validation part; all films are ranked that the user
has not rated. An arm learns from both and test is read once per seed. The arms have the same settings; their
difference is paired by user, each user's metric a mean over the seeds, so that the interval speaks of users
alone. Wanted: films known by their attributes clearly above films known by their ids.

S3-Rec (Zhou et al. 2020, CIKM) states what attributes bring on Amazon's Beauty, Sports and Toys, on Yelp and
LastFM. None of them is at hand: what stands here is another set and cannot be set beside it.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from benchmarks.experiments import compose_config
from benchmarks.fits import WITHOUT_TUNED, fit_on, prepare_data
from marquee.core.arrays import Float64Array
from marquee.data.dataset import JudgedPart
from marquee.errors import DataError, MarqueeError
from marquee.evaluation.evaluation import EvaluationTask, evaluate
from marquee.evaluation.intervals import Estimate, estimate_means
from marquee.nn.embed import score_queries
from training.config import TrainConfig
from training.runs.prepare import Prepared

DATA = "movielens-100k"
METRICS = ("ndcg@10", "hit_rate@10")
SPLIT = ("data.split={method: leave_last, n: 1}", WITHOUT_TUNED)
# Words of titles are learned by heart: on validation films known by them too rank worse than by ids alone.
ATTRIBUTES = ("~data.features.item.title",)
SETTINGS = (
    "model.dropout=0.2",
    "examples={unit: sequence, batch_size: 2048}",
    "negatives=catalog",
    "start=spectral",
    "start.scale=1",
    "loss.temperature=0.15",
    "optimizer.learning_rate=0.003",
    "trainer={epochs: 15, patience: 0, precision: bf16-mixed, average_half_life_epochs: 0.5}",
)
SEQUENCE = "model=sasrec"
BOTH_SIDES = (
    "model=two_tower",
    "model.history_pooling=transformer",
    "model.n_heads=1",
    "model.user_id=false",
    "model.item_id_dropout=0",
    "model.history_dropout=0",
)
ARMS: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "films and users": BOTH_SIDES,
        "films": (SEQUENCE, "model.item_features=true"),
        "none": (SEQUENCE,),
    }
)
"""Of which attributes are known → overrides; the most first, ids alone last."""


def values_of_arm(prepared: Prepared, task: EvaluationTask, config: TrainConfig) -> Float64Array:
    """Fits one arm and returns its metrics of each user, (n_users, n_metrics)."""
    fitted = fit_on(prepared.dataset, None, config)
    scorer = score_queries(fitted.model, _judged(prepared).queries)
    found = evaluate({"arm": scorer}, task, np.random.default_rng(0)).models["arm"].values
    return np.stack([found[metric] for metric in METRICS], axis=1)


def _judged(prepared: Prepared) -> JudgedPart:
    """Returns the part that is asked: test, or validation where training did not learn from it."""
    part = prepared.validation if prepared.validation is not None else prepared.test
    if part is None:
        raise DataError(f"{DATA} leaves nobody to ask, expected a film of each user")
    return part


def _means(values: Float64Array) -> str:
    """Returns the means of some users' metrics, as they are printed."""
    return " / ".join(f"{value:.4f}" for value in values.mean(axis=0))


def measure(seeds: Sequence[int], fixed: Sequence[str]) -> dict[str, Float64Array]:
    """Returns arm → metrics of each user, each a mean over the seeds, (n_users, n_metrics)."""
    found = {}
    for arm, of_arm in ARMS.items():
        overrides = [*of_arm, *SETTINGS, *fixed]
        prepared = prepare_data(DATA, overrides)
        values = []
        for seed in seeds:
            config = compose_config([f"data={DATA}", *overrides, f"seed={seed}"])
            task = config.evaluation.task(_judged(prepared), prepared.dataset.n_items, [10])
            values.append(values_of_arm(prepared, task, config))
            print(
                f"{arm}, seed {seed}: " + " / ".join(f"{v:.4f}" for v in values[-1].mean(axis=0)), flush=True
            )
        found[arm] = np.mean(values, axis=0)
    return found


def differences(found: Mapping[str, Float64Array], base: str) -> dict[str, list[Estimate]]:
    """Returns each other arm minus `base`, metric by metric, with paired 95 % intervals."""
    is_difference = np.ones(len(METRICS), dtype=np.bool_)
    return {
        arm: estimate_means(values - found[base], np.random.default_rng(0), is_difference=is_difference)
        for arm, values in found.items()
        if arm != base
    }


def main() -> int:
    """Prints the arms; returns the exit status."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--validation", action="store_true", help="test is not read: to choose settings")
    parser.add_argument("--check", action="store_true", help="exit status 1 where films gain nothing")
    parser.add_argument("overrides", nargs="*", help="settings of all arms, such as trainer.epochs=20")
    options = parser.parse_args()
    is_merged = str(not options.validation).lower()
    fixed = [*SPLIT, *ATTRIBUTES, f"data.split.fit_on_validation={is_merged}", *options.overrides]
    try:
        found = measure(range(1, options.seeds + 1), fixed)
    except MarqueeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    gains = differences(found, "none")
    print(
        f"\n{DATA}, each user's last film, {options.seeds} seed(s): attributes known, {' / '.join(METRICS)}"
    )
    for arm, values in found.items():
        gap = "".join(f"  {g.mean:+.4f} ({g.low:+.4f} to {g.high:+.4f})" for g in gains.get(arm, ()))
        print(f"  {arm:<16} {_means(values)}{gap}")
    is_reached = gains["films"][0].low > 0
    print("passed" if is_reached else "FAILED")
    return int(options.check and not is_reached)


if __name__ == "__main__":
    sys.exit(main())
