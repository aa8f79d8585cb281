"""The defaults on random splits without time, beside simple methods whose knobs were searched.

    python -m benchmarks.recipe --check            sets of a minute each
    python -m benchmarks.recipe --large --check    also MovieLens 1M and Gowalla
    python -m benchmarks.recipe deskdrop world     some of them
    python -m benchmarks.recipe --bpr --seeds 3    also BPR, by our own towers; three seeds of ours

Ours is a data set's ten lines and no setting: what `python -m training.train` does. The references have their
knobs from the grids of `recipe_references`, chosen on the same validation part, a tenth of training. Test is
read once per seed, by ours and by the best point of each grid. All learn from training without validation,
and are asked with both. Wanted: ours first, or not to be told from the first; on Gowalla 3 % above it.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.experiments import compose_config
from benchmarks.fits import WITHOUT_TUNED, fit_on, prepare_data
from benchmarks.recipe_data import SPLITS, RandomSplit, write_lists
from benchmarks.recipe_references import METRIC, RECALL, K, search_bpr, search_closed
from marquee.data.dataset import JudgedPart
from marquee.errors import DataError, MarqueeError
from marquee.evaluation.evaluation import Evaluation, evaluate
from marquee.nn.embed import score_queries

OURS = "defaults"
OVERRIDES: tuple[str, ...] = ()
"""Of ours: none, for the defaults are what is judged."""


@dataclass(frozen=True)
class Outcome:
    """All methods on the test part of one set.

    Attributes:
        split: Which set.
        evaluation: Of ours, first, and of each reference.
        knobs: Reference → its choice.
        validation: Method → metric on validation.
        seconds: Processor time of our fit.
    """

    split: RandomSplit
    evaluation: Evaluation
    knobs: Mapping[str, str]
    validation: Mapping[str, float]
    seconds: float

    @property
    def best(self) -> str:
        """Reference with the highest metric on test."""
        models = self.evaluation.models
        return max(self.knobs, key=lambda name: models[name].estimates[METRIC].mean)

    @property
    def ratio(self) -> float:
        """Ours as a multiple of the best reference."""
        models = self.evaluation.models
        return models[OURS].estimates[METRIC].mean / models[self.best].estimates[METRIC].mean

    @property
    def is_reached(self) -> bool:
        """Whether ours is as far ahead as it must be; first or tied where no margin is asked for."""
        # Tied: the paired interval reaches up to 0.
        is_tied = self.evaluation.differences[self.best][METRIC].high >= 0
        return self.ratio >= self.split.margin or (self.split.margin == 1 and is_tied)

    def lines(self) -> Iterator[str]:
        """Yields a line per method, the best first."""
        models, differences = self.evaluation.models, self.evaluation.differences
        for name in sorted(models, key=lambda name: -models[name].estimates[METRIC].mean):
            test = models[name].estimates
            gap = f"{self.seconds:.0f} s of processor time"
            if name != OURS:
                paired = differences[name][METRIC]
                gap = f"ours {paired.mean:+.4f} ({paired.low:+.4f} to {paired.high:+.4f})  {self.knobs[name]}"
            yield (
                f"  {name:<9} validation {self.validation[name]:.4f}   test {test[METRIC].mean:.4f} / "
                f"{test[RECALL].mean:.4f}   {gap}"
            )


def run_split(split: RandomSplit, seed: int, *, with_bpr: bool) -> Outcome:
    """Returns ours and the references on one set.

    Raises:
        DataError: If its split leaves nobody to choose on, or to judge.
    """
    with tempfile.TemporaryDirectory() as folder:
        write_lists(split.pairs(), Path(folder))
        common = [f"data.root={folder}", f"data.name=random-{split.name}", WITHOUT_TUNED, f"seed={seed}"]
        common += [f"evaluation.headline_k={K}"]
        config = compose_config(["data=lightgcn-split", *common, *OVERRIDES])
        prepared = prepare_data("lightgcn-split", common)
    n_items = prepared.dataset.n_items
    validation, test = (_asked(part, split) for part in (prepared.validation, prepared.test))
    began = time.process_time()
    ours = fit_on(prepared.dataset, validation, config)
    seconds = time.process_time() - began
    task = config.evaluation.task(validation, n_items, [K])
    references = dict(search_closed(prepared, validation, test, task, seed, is_large=split.is_large))
    if with_bpr:
        references["bpr"] = search_bpr(prepared, common, test)
    scorers = {name: found.scorer for name, found in references.items()}
    return Outcome(
        split=split,
        evaluation=evaluate(
            {OURS: score_queries(ours.model, test.queries), **scorers},
            config.evaluation.task(test, n_items, [K]),
            np.random.default_rng(0),
        ),
        knobs={name: found.knobs for name, found in references.items()},
        validation={OURS: ours.validation_ndcg} | {name: f.validation for name, f in references.items()},
        seconds=seconds,
    )


def _asked(part: JudgedPart | None, split: RandomSplit) -> JudgedPart:
    """Returns a part that asks somebody."""
    if part is None:
        raise DataError(f"the random split of {split.name} leaves nobody to ask, expected some")
    return part


def main() -> int:
    """Prints ours beside the references; returns the exit status."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    names = [split.name for split in SPLITS]
    parser.add_argument("data", nargs="*", help=f"of {', '.join(names)}; those of a minute if left out")
    parser.add_argument("--large", action="store_true", help="also those of several minutes")
    parser.add_argument("--bpr", action="store_true", help="also BPR, searched: four fits more per set")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--check", action="store_true", help="exit status 1 where ours is not first or tied")
    options = parser.parse_args()
    wanted = [split for split in SPLITS if split.name in options.data]
    if not options.data:
        wanted = [split for split in SPLITS if options.large or not split.is_large]
    there = [split for split in wanted if split.is_there]
    outcomes = []
    try:
        for split in there:
            for seed in range(1, options.seeds + 1):
                outcomes.append(run_split(split, seed, with_bpr=options.bpr))
                verdict = "" if outcomes[-1].is_reached else "   BELOW WHAT IS WANTED"
                print(f"{split.name}, seed {seed}: {outcomes[-1].ratio:.3f} of {outcomes[-1].best}{verdict}")
                print("\n".join(outcomes[-1].lines()), flush=True)
    except MarqueeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if missing := [split.name for split in wanted if split not in there]:
        print(f"not on this machine: {', '.join(missing)}")
    is_reached = bool(outcomes) and all(outcome.is_reached for outcome in outcomes)
    print("passed" if is_reached else "FAILED")
    return int(options.check and not is_reached)


if __name__ == "__main__":
    sys.exit(main())
