"""The default settings on data that they were not tuned for, beside matrix factorisation with BPR.

    python -m benchmarks.defaults                   every data set that is on this machine
    python -m benchmarks.defaults deskdrop world    some of them
    python -m benchmarks.defaults world --grid      the search that BPR's settings come from
    python -m benchmarks.defaults --check           exit status 1 where the margin is missed

Ours is `python -m training.train data=… ~tuned`: nothing that was chosen for the data set, only what its
config says the data are. BPR is the reference that everybody knows (Rendle et al. 2009): a vector and a bias
per item, a vector per user, inner products of any length, uniform negatives. It has what ours has not: its
learning rate and weight decay come from the grid below, which `--grid` searches for a data set, its number
of epochs from stopping. All is read on the validation part, on which BPR was tuned; test is not read.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from benchmarks.experiments import compose_config
from benchmarks.fits import EVERY_SET, WITHOUT_TUNED, fit_on, is_there, prepare_data
from marquee.errors import ConfigError, MarqueeError
from marquee.evaluation.evaluation import evaluate
from marquee.evaluation.intervals import Estimate
from marquee.nn.embed import score_queries
from training.runs.prepare import Prepared

K = 20
METRIC = f"ndcg@{K}"
MARGIN = 1.25
COMMON = (WITHOUT_TUNED, "evaluation.test=false", f"evaluation.headline_k={K}")
BPR = (
    "model=matrix_factorization",
    "model.normalise=false",
    "loss=bpr",
    "negatives.in_batch=false",
    "negatives.n_uniform=100",
    "examples.unit=next",  # one pair at a time
    "examples.half_life_days=0",
    "start=random",
    "optimizer.cosine=false",  # the best epoch is found by stopping, not by a plan
    "trainer.epochs=60",
    "trainer.patience=3",
)
LEARNING_RATES = (0.001, 0.003, 0.01, 0.03)
WEIGHT_DECAYS = (0.0, 0.03, 0.3)


@dataclass(frozen=True)
class Chosen:
    """The grid's choice for BPR on one data set."""

    learning_rate: float
    weight_decay: float

    @property
    def overrides(self) -> tuple[str, ...]:
        """The settings as a command line has them."""
        return (
            *BPR,
            f"optimizer.learning_rate={self.learning_rate}",
            f"optimizer.weight_decay={self.weight_decay}",
        )


CHOSEN = {
    "movielens-100k": Chosen(0.01, 0.03),
    "movielens-1m": Chosen(0.01, 0.03),
    "gowalla": Chosen(0.01, 0.03),
    "deskdrop": Chosen(0.01, 0.3),
    "online-retail": Chosen(0.01, 0.03),
    "world": Chosen(0.003, 0.3),
}
"""The grid's choice on each; on gowalla, where it takes hours, its choice on most others."""


@dataclass(frozen=True)
class Beside:
    """The default settings beside BPR on one data set.

    Attributes:
        data: Its name.
        ours: Metric of the defaults.
        theirs: Metric of BPR.
        difference: Ours minus theirs, paired by user.
        n_users: Users judged.
        seconds: Of the fit of ours, and of theirs.
    """

    data: str
    ours: Estimate
    theirs: Estimate
    difference: Estimate
    n_users: int
    seconds: tuple[float, float]

    @property
    def ratio(self) -> float:
        """Ours as a multiple of theirs."""
        return self.ours.mean / self.theirs.mean if self.theirs.mean else float("inf")

    @property
    def is_reached(self) -> bool:
        """Whether ours is better by the margin, and better beyond what chance makes."""
        return self.ratio >= MARGIN and self.difference.low > 0

    def line(self) -> str:
        """Returns the line to print."""
        ours, theirs, gap = self.ours.mean, self.theirs.mean, self.difference
        verdict = "" if self.is_reached else "MISSED"
        return (
            f"{self.data:<16}{self.n_users:>7,}{theirs:>9.4f}{ours:>9.4f}{self.ratio:>7.2f}x   "
            f"{gap.mean:+.4f} ({gap.low:+.4f} to {gap.high:+.4f})"
            f"{self.seconds[1]:>8.0f} s{self.seconds[0]:>6.0f} s  {verdict}"
        ).rstrip()


HEAD = (
    f"{'':<16}{'users':>7}{'BPR':>9}{'ours':>9}{'ratio':>8}   {'difference, 95 % interval':<28}"
    f"{'BPR':>7}{'ours':>8}"
)


def compare(data: str, prepared: Prepared, chosen: Chosen, overrides: Sequence[str] = ()) -> Beside:
    """Returns the default settings beside BPR, fitted and judged on prepared data.

    Args:
        data: Name of the data set.
        prepared: The same, read.
        chosen: Settings of BPR.
        overrides: For both.

    Raises:
        ConfigError: If the split leaves nobody to judge on.
    """
    part = prepared.validation
    if part is None:
        raise ConfigError(f"the validation part of {data} has 0 events, expected some; change data.split")
    settings = {"ours": (), "bpr": chosen.overrides}
    configs = {
        name: compose_config([f"data={data}", *COMMON, *own, *overrides]) for name, own in settings.items()
    }
    fits = {name: fit_on(prepared.dataset, part, config) for name, config in configs.items()}
    found = evaluate(
        {name: score_queries(fit.model, part.queries) for name, fit in fits.items()},
        configs["ours"].evaluation.task(part, prepared.dataset.n_items, [K]),
        np.random.default_rng(0),
    )
    return Beside(
        data=data,
        ours=found.models["ours"].estimates[METRIC],
        theirs=found.models["bpr"].estimates[METRIC],
        difference=found.differences["bpr"][METRIC],
        n_users=found.counts.n_queries,
        seconds=(fits["ours"].seconds, fits["bpr"].seconds),
    )


def search_grid(data: str, prepared: Prepared, overrides: Sequence[str] = ()) -> dict[Chosen, float]:
    """Returns the validation metric of BPR at every point of the grid, and prints each as it is found."""
    found = {}
    for rate, decay in product(LEARNING_RATES, WEIGHT_DECAYS):
        chosen = Chosen(rate, decay)
        config = compose_config([f"data={data}", *COMMON, *chosen.overrides, *overrides])
        fit = fit_on(prepared.dataset, prepared.validation, config)
        found[chosen] = fit.validation_ndcg
        print(
            f"  learning rate {rate:<6} weight decay {decay:<5} {METRIC} {fit.validation_ndcg:.4f}  "
            f"{fit.epochs} epochs, {fit.seconds:.0f} s",
            flush=True,
        )
    return found


def main() -> int:
    """Prints ours beside BPR; returns the exit status."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("data", nargs="*", help=f"of {', '.join(EVERY_SET)}; all that are there if left out")
    parser.add_argument("--grid", action="store_true", help="search BPR's settings in place of comparing")
    parser.add_argument("--check", action="store_true", help="exit status 1 where the margin is missed")
    options = parser.parse_args()
    names = options.data or [data for data in EVERY_SET if is_there(data)]
    try:
        if options.grid:
            for data in names:
                print(data)
                search_grid(data, prepare_data(data, COMMON))
            return 0
        print(f"{METRIC}, validation, full catalog; wanted: {MARGIN} times BPR on every data set\n{HEAD}")
        found = []
        for data in names:
            found.append(compare(data, prepare_data(data, COMMON), CHOSEN[data]))
            print(found[-1].line(), flush=True)
    except MarqueeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if not options.data and (missing := set(EVERY_SET) - set(names)):
        print(f"not on this machine: {', '.join(sorted(missing))}")
    is_reached = all(beside.is_reached for beside in found)
    print("passed" if is_reached else "FAILED")
    return int(options.check and not is_reached)


if __name__ == "__main__":
    sys.exit(main())
