"""Computes an uplift: the effect on all, who is changed most, and whether response finds them better."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from marquee.bundle.traits.forms.uplift import UpliftForm
from marquee.core.arrays import BoolArray, Float64Array
from marquee.errors import DataError
from marquee.evaluation.intervals import CONFIDENCE, Estimate
from marquee.evaluation.probabilities.metrics import auc
from marquee.marketing.conditions import evaluate
from marquee.marketing.config import Kind
from marquee.marketing.reading.customers import USER_ID
from marquee.marketing.scoring.encoding import Ages, column_values
from marquee.marketing.scoring.folds import LOGISTIC, cross_fit
from marquee.marketing.traits import TraitContext, TraitResult
from marquee.marketing.uplift.config import UpliftConfig
from marquee.marketing.uplift.learners import (
    RESPONSE,
    S_LEARNER,
    T_LEARNER,
    cross_scores,
    fit_learners,
    scores_of,
)
from marquee.marketing.uplift.qini import SHARES, qini, qini_curve, resample_weights, uplift_at
from marquee.marketing.versions import version_of

MIN_OF_EACH = 30
# Of a draw by lot only one table in 30,000 looks as predictable.
_NOT_BY_LOT = 4.0
_MIN_AUC = 0.52
_QUANTILE = 1.959963984540054
_CURVE_POINTS = 41


@dataclass(frozen=True)
class JudgedOrder:
    """One order of customers.

    Attributes:
        name: Of the learner, or `response`.
        qini: With its interval; 0 is a draw by lot.
        uplift: Share of the customers → difference of outcome rates among the first, with its interval.
        curve: Outcomes added over customers reached, both as shares of all customers.
    """

    name: str
    qini: Estimate
    uplift: dict[float, Estimate]
    curve: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class JudgedUplift:
    """How much a treatment changes, and who finds the changed.

    Attributes:
        outcome: The declared condition.
        n_treated: Customers who got the treatment.
        n_control: Customers who got none.
        rates: Outcome rate of treated and control.
        effect: Their difference with its interval.
        arm_auc: How well attributes tell the arm; 0.5 if it was drawn by lot.
        orders: The chosen learner, the other, then targeting by response.
        gain: Qini of the chosen learner over that of response, with its interval.
        is_better: Whether the learner's Qini is above that of response.
    """

    outcome: str
    n_treated: int
    n_control: int
    rates: tuple[float, float]
    effect: Estimate
    arm_auc: float
    orders: tuple[JudgedOrder, ...]
    gain: Estimate
    is_better: bool

    @property
    def verdict(self) -> str:
        """Which order to use, in a few words."""
        if not self.is_better:
            return "target by response"
        return "target by uplift" if self.gain.low > 0 else "target by uplift, though not clearly better"


def compute_uplift(name: str, config: UpliftConfig, context: TraitContext) -> TraitResult:
    """Returns how much the treatment changes each customer.

    Raises:
        DataError: If an arm is too small, or attributes tell who got the treatment.
    """
    customers, key = context.customers, f"customers.traits.{name}"
    rows = customers.rows.filter(customers.may_be_scored)
    outcome = evaluate(config.outcome, rows, f"{key}.outcome")
    treated = evaluate(config.treated, rows, f"{key}.treated")
    used = {*outcome.columns, *treated.columns}
    is_control = ~treated.holds
    if config.control:
        control = evaluate(config.control, rows, f"{key}.control")
        used |= {*control.columns}
        is_control = control.holds
    is_in = ((treated.holds | is_control) & outcome.holds.is_not_null()).fill_null(False).to_numpy()
    arm, won = (one.holds.fill_null(False).to_numpy() for one in (treated, outcome))
    _require_arms(key, arm[is_in], won[is_in])
    features = [column for column in customers.kinds if column not in used]
    if not features:
        raise DataError(f"{key} leaves no column to learn from, left out are {customers.left_out}")
    values = column_values(rows, features)
    inside = {column: value[is_in] for column, value in values.items()}
    ages = Ages(
        frozenset(one for one, kind in customers.kinds.items() if kind is Kind.date), customers.as_of or 0.0
    )
    arm_auc = _require_lot(key, inside, arm[is_in], ages, context.seed)
    scores = cross_scores(inside, won[is_in], arm[is_in], ages, context.seed)
    models = fit_learners(inside, won[is_in], arm[is_in], ages, context.seed)
    fitted = scores_of(models, values)
    chosen = T_LEARNER if config.learner == "t" else S_LEARNER
    uplift, response = fitted[chosen], fitted[RESPONSE]
    # Of customers in the experiment by models that had not seen them.
    uplift[is_in], response[is_in] = scores[chosen], scores[RESPONSE]
    judged = _judge(config, chosen, scores, won[is_in], arm[is_in], arm_auc, context.seed)
    frame = pl.DataFrame({USER_ID: rows[USER_ID], name: uplift, f"{name}_response": response})
    cautions = () if judged.is_better else (_by_response(judged),)
    version = version_of(name, config, context.version)
    form = UpliftForm(name, version, customers.as_of, models, config.learner)
    return TraitResult(name, "uplift", version, frame, judged, cautions, form=form)


def _judge(
    config: UpliftConfig,
    chosen: str,
    scores: dict[str, Float64Array],
    outcome: BoolArray,
    treated: BoolArray,
    arm_auc: float,
    seed: int,
) -> JudgedUplift:
    """Returns every order with its intervals: the same customers are drawn for all of them."""
    names = [chosen, *(one for one in (T_LEARNER, S_LEARNER) if one != chosen), RESPONSE]
    generator = np.random.default_rng(seed)
    drawn: dict[str, list[list[float]]] = {one: [] for one in names}
    for weight in resample_weights(len(outcome), config.n_resamples, generator):
        for one in names:
            drawn[one].append(_numbers(scores[one], outcome, treated, weight))
    orders = []
    for one in names:
        own, resampled = _numbers(scores[one], outcome, treated, None), np.array(drawn[one])
        estimates = [_estimate(value, resampled[:, place]) for place, value in enumerate(own)]
        orders.append(
            JudgedOrder(
                one,
                estimates[0],
                dict(zip(SHARES, estimates[1:], strict=True)),
                _thinned(*qini_curve(scores[one], outcome, treated)),
            )
        )
    gains = np.array(drawn[chosen])[:, 0] - np.array(drawn[RESPONSE])[:, 0]
    gain = orders[0].qini.mean - orders[-1].qini.mean
    rates = float(outcome[treated].mean()), float(outcome[~treated].mean())
    return JudgedUplift(
        outcome=config.outcome,
        n_treated=int(treated.sum()),
        n_control=int((~treated).sum()),
        rates=rates,
        effect=_effect(rates, int(treated.sum()), int((~treated).sum())),
        arm_auc=arm_auc,
        orders=tuple(orders),
        gain=_estimate(gain, gains),
        is_better=gain > 0,
    )


def _numbers(
    score: Float64Array, outcome: BoolArray, treated: BoolArray, weight: Float64Array | None
) -> list[float]:
    """Returns Qini and the uplift at each share of one order."""
    return [
        qini(score, outcome, treated, weight),
        *(uplift_at(score, outcome, treated, share, weight) for share in SHARES),
    ]


def _estimate(value: float, resampled: Float64Array) -> Estimate:
    """Returns a value with its percentile interval."""
    low, high = np.nanquantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value, float(low), float(high))


def _effect(rates: tuple[float, float], n_treated: int, n_control: int) -> Estimate:
    """Returns the difference of two rates with its normal interval."""
    error = sum(rate * (1 - rate) / n for rate, n in zip(rates, (n_treated, n_control), strict=True)) ** 0.5
    difference = rates[0] - rates[1]
    return Estimate(difference, difference - _QUANTILE * error, difference + _QUANTILE * error)


def _thinned(x: Float64Array, y: Float64Array) -> tuple[tuple[float, float], ...]:
    """Returns a curve at few points, both axes as shares of all customers."""
    at = np.linspace(0, x[-1], _CURVE_POINTS)
    return tuple(zip((at / x[-1]).tolist(), (np.interp(at, x, y) / x[-1]).tolist(), strict=True))


def _by_response(judged: JudgedUplift) -> str:
    """Returns the caution that uplift finds the changed no better than response."""
    return (
        f"Target by response: its Qini is {judged.orders[-1].qini.mean:.3f}, that of the uplift model "
        f"{judged.orders[0].qini.mean:.3f}."
    )


def _require_arms(key: str, treated: BoolArray, outcome: BoolArray) -> None:
    """Raises DataError unless both arms hold enough of either outcome."""
    for arm, word in ((True, "treated"), (False, "control")):
        own = outcome[treated == arm]
        n_true = int(own.sum())
        if min(n_true, len(own) - n_true) < MIN_OF_EACH:
            raise DataError(
                f"{key}: the arm of the {word} has {len(own):,} customers with the outcome in {n_true:,}; "
                f"{MIN_OF_EACH} with and without it are needed in both arms: look at treated and control"
            )


def _require_lot(key: str, values: dict[str, np.ndarray], treated: BoolArray, ages: Ages, seed: int) -> float:
    """Returns how well attributes tell the arm; raises DataError where it was not drawn by lot."""
    said = cross_fit(values, treated, ages, seed, (LOGISTIC,)).probability[LOGISTIC]
    area = auc(said, treated)
    n, m = int(treated.sum()), int((~treated).sum())
    # Of two samples of one distribution: Mann and Whitney 1947.
    error = ((n + m + 1) / (12 * n * m)) ** 0.5
    if area >= _MIN_AUC and area > 0.5 + _NOT_BY_LOT * error:
        raise DataError(
            f"{key}: attributes tell who was treated with AUC {area:.3f}, where a draw by lot gives 0.5 "
            f"give or take {error:.3f}; without a draw by lot no uplift can be told: leave columns out "
            "that were filled after the treatment (known_after), or run an experiment"
        )
    return area
