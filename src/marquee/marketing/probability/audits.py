"""Two audits of a table before its probabilities are believed: leaks, and rows in an order."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from marquee.bundle.traits.columns import Values, encode
from marquee.bundle.traits.models import probabilities
from marquee.core.arrays import BoolArray
from marquee.evaluation.probabilities.metrics import auc
from marquee.marketing.scoring.encoding import Ages, fit_columns, take_rows
from marquee.marketing.scoring.folds import LOGISTIC, cross_fit, draw_rows
from marquee.marketing.scoring.models import fit_logistic

# Of seven tables the lowest column that was known only afterwards had 0.805, the highest honest one 0.769.
LEAK_AUC = 0.80
MAX_AUDITED = 20_000
N_TENTHS = 10
ORDERED_P = 1e-6
LAST_SHARE = 0.2


@dataclass(frozen=True)
class Leak:
    """A column that alone tells the outcome too well.

    Attributes:
        column: Its name.
        auc: By this column alone, out of fold.
        auc_without: By all others, out of fold.
        is_accepted: Whether the config says that it was known before the outcome.
    """

    column: str
    auc: float
    auc_without: float
    is_accepted: bool


@dataclass(frozen=True)
class Ordered:
    """Rows whose outcome changes along the file.

    Attributes:
        rates: Of each tenth of the file.
        p: Of equal rates.
        auc_last: On the last fifth, by a model of the rows before it; NaN where that fifth has one outcome.
        said: Mean probability said there.
        came: Share that came true there.
    """

    rates: tuple[float, ...]
    p: float
    auc_last: float
    said: float
    came: float


def audit_leaks(
    values: Mapping[str, Values], outcome: BoolArray, ages: Ages, seed: int, accepted: list[str]
) -> tuple[tuple[Leak, ...], dict[str, float]]:
    """Returns the columns that alone reach `LEAK_AUC`, and the AUC of every column.

    Args:
        values: Column → value per row.
        outcome: (n,) bool.
        ages: Which columns are ages.
        seed: Of the draw of rows, where there are very many, and of the folds.
        accepted: Columns that were known before the outcome.
    """
    if len(outcome) > MAX_AUDITED:
        drawn = draw_rows(outcome, MAX_AUDITED, seed)
        values, outcome = take_rows(values, drawn), outcome[drawn]
    alone = {}
    for name, column in values.items():
        if not fit_columns({name: column}, ages):
            continue
        said = cross_fit({name: column}, outcome, ages, seed, (LOGISTIC,)).probability[LOGISTIC]
        alone[name] = auc(said, outcome)
    leaks = []
    for name, area in alone.items():
        if area < LEAK_AUC:
            continue
        rest = {other: column for other, column in values.items() if other != name}
        without = float("nan")
        if fit_columns(rest, ages):
            without = auc(cross_fit(rest, outcome, ages, seed, (LOGISTIC,)).probability[LOGISTIC], outcome)
        leaks.append(Leak(name, area, without, name in accepted))
    return tuple(leaks), alone


def audit_order(values: Mapping[str, Values], outcome: BoolArray, ages: Ages) -> Ordered | None:
    """Returns how the outcome changes along the file; None if chance alone may have made it.

    Args:
        values: Column → value per row, in the order of the file.
        outcome: (n,) bool.
        ages: Which columns are ages.

    Source:
        Pearson's chi-squared test of homogeneity, 9 degrees of freedom.
    """
    from scipy.stats import chi2

    tenths = np.array_split(outcome, N_TENTHS)
    rate = outcome.mean()
    n = np.array([len(tenth) for tenth in tenths], dtype=np.float64)
    came = np.array([tenth.sum() for tenth in tenths], dtype=np.float64)
    statistic = float(((came - n * rate) ** 2 / (n * rate * (1 - rate))).sum())
    p = float(chi2.sf(statistic, N_TENTHS - 1))
    if p >= ORDERED_P:
        return None
    cut = round(len(outcome) * (1 - LAST_SHARE))
    earlier = np.arange(len(outcome)) < cut
    area, said = float("nan"), float("nan")
    if 0 < outcome[earlier].sum() < cut:
        columns = fit_columns(take_rows(values, earlier), ages)
        model = fit_logistic(encode(columns, take_rows(values, earlier)), outcome[earlier])
        probability = probabilities(model.logits(encode(columns, take_rows(values, ~earlier))))
        said = float(probability.mean())
        area = auc(probability, outcome[~earlier])
    return Ordered(tuple((came / n).tolist()), p, area, said, float(outcome[~earlier].mean()))
