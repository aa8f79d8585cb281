"""Judges the head of a run: its clicks beside the heads of the report, its conversions, and the objective."""

from collections.abc import Mapping

import numpy as np
import polars as pl

from marquee.core.arrays import BoolArray, Float64Array, FloatArray, IndexArray
from marquee.core.event_kinds import EventKind
from marquee.data.dataset import Dataset
from marquee.data.exposures import PAIR, Exposures, missing_for_clicks, read_exposures
from marquee.evaluation.analyses.slices import Members, members_of
from marquee.evaluation.probabilities.intervals import MIN_OUTCOMES
from marquee.evaluation.probabilities.objective import Brought, JudgedObjective, judge_objective, variety_of
from marquee.evaluation.probabilities.outcomes import JudgedOutcome, judge_outcome
from training.cli.objective import objective_of
from training.config import TrainConfig
from training.fitting.probabilities.run import HeadOfRun
from training.runs.prepare import Prepared

CLICK_HEAD, CONVERSION = "click head", "conversion"
MATURED_SHARE = 0.95
"""Share of the conversions of a click that must have come by the end for it to be judged."""

_CAMPAIGN, _PRICE, _REVENUE = "campaign_id", "price", "revenue"
N_PRICE_BANDS = 3


def why_not_judged(of_run: HeadOfRun, judged: Exposures, events: pl.DataFrame, limit: int) -> str:
    """Returns why the head says nothing of some judged exposures, '' if it has described all of them.

    Args:
        of_run: The head of the run.
        judged: Exposures of a part.
        events: Of all parts.
        limit: Most exposures that are described (`probabilities.max_exposures`).
    """
    moments = judged.frame["timestamp"]
    described_from = int(of_run.exposures.shown.timestamp[0])
    n_earlier = int((moments < described_from).sum())
    if not n_earlier:
        return ""
    is_needed = (pl.col("kind") == EventKind.exposure) & (pl.col("timestamp") >= moments.min())
    return (
        f"The {CLICK_HEAD} of the bundle is not judged: {n_earlier:,} of the {len(judged):,} judged "
        f"exposures come before the latest {limit:,}, the only ones that it has described; set "
        f"probabilities.max_exposures to {len(events.filter(is_needed)):,} or more to judge it."
    )


def click_probabilities(of_run: HeadOfRun, judged: Exposures) -> Float64Array:
    """Returns the head's probability of a click on each judged exposure, (n,)."""
    return head_says(of_run, judged.frame)[:, 0]


def head_says(of_run: HeadOfRun, frame: pl.DataFrame) -> Float64Array:
    """Returns the head's probabilities of click, and of conversion after it, of exposures, (n, 2)."""
    said = of_run.head.probabilities(of_run.exposures, _rows_of(of_run, frame))
    return said.astype(np.float64)


def judge_conversions(
    of_run: HeadOfRun, judged: pl.DataFrame, columns: Mapping[str, Members], part: str, config: TrainConfig
) -> JudgedOutcome | str:
    """Judges the probability that a click of a part leads to a conversion; or says why there is none.

    Args:
        of_run: The head of the run.
        judged: Exposures of the part.
        columns: Column → value → its exposures, (n,) bool each.
        part: Name of the part.
        config: Of the run.
    """
    shown, rows = of_run.exposures.shown, _rows_of(of_run, judged)
    is_clicked = shown.is_clicked[rows]
    is_judged: BoolArray = is_clicked & (of_run.exposures.seen_share[rows] >= MATURED_SHARE)
    kept = rows[is_judged]
    outcome = shown.is_converted[kept]
    n_converted = int(outcome.sum())
    if min(n_converted, len(outcome) - n_converted) < MIN_OUTCOMES:
        return (
            f"The probabilities of a conversion are not judged: {n_converted} of {len(outcome)} clicks of "
            f"the {part} part led to one, expected {MIN_OUTCOMES} of each outcome or more."
        )
    n_young = int(is_clicked.sum()) - len(kept)
    train = shown.is_clicked & (shown.timestamp < shown.timestamp[rows].min())
    rate = float(shown.is_converted[train].mean())
    said = of_run.head.probabilities(of_run.exposures, kept)[:, 1].astype(np.float64)
    return judge_outcome(
        CONVERSION,
        f"For each of {len(kept):,} clicks of the {part} part: does it lead to a conversion? Left out: "
        f"{n_young:,} clicks so late that fewer than {MATURED_SHARE:.0%} of their conversions can have come.",
        {CLICK_HEAD: said, "mean rate": np.full(len(kept), rate)},
        outcome,
        shown.user[kept],
        {
            name: {value: is_in[is_judged] for value, is_in in members.items()}
            for name, members in columns.items()
        },
        np.random.default_rng(config.seed),
    )


def objective_of_part(
    prepared: Prepared, config: TrainConfig, head: HeadOfRun | None, directions: FloatArray | None = None
) -> JudgedObjective | None:
    """Returns the worth of the exposures of the judged part; None where it has none.

    Args:
        prepared: The data.
        config: Of the run.
        head: Of the run; None where it has none.
        directions: What items are like, (n_items + 1, dim); None where nobody knows.

    Raises:
        ConfigError: If the objective cannot be read.
    """
    split = prepared.split
    name, frame = ("test", split.test) if config.evaluation.test else ("validation", split.validation)
    if missing_for_clicks(frame):
        return None
    shown = read_exposures(frame, prepared.dataset.item_ids)
    if not len(shown):
        return None
    objective, said = objective_of(config.objective), None
    if head is not None and not why_not_judged(head, shown, split.events, 0):
        chances = head_says(head, shown.frame)
        said = objective.click * chances[:, 0] + objective.conversion * chances[:, 0] * chances[:, 1]
    variety = None
    if directions is not None:
        answer = np.unique(shown.frame[PAIR[0]].to_numpy(), return_inverse=True)[1]
        variety = variety_of(answer, directions[prepared.dataset.item_ids.encode(shown.frame["item_id"])])
    revenue = None
    if _REVENUE in shown.frame.columns:
        # Null: a place that was not sold.
        revenue = shown.frame[_REVENUE].fill_null(0.0).to_numpy().astype(np.float64)
    return judge_objective(
        objective,
        name,
        Brought(shown.is_clicked, _is_converted(shown, split.events), variety, revenue),
        np.unique(shown.frame["user_id"].to_numpy(), return_inverse=True)[1],
        np.random.default_rng(config.seed),
        said,
    )


def _is_converted(shown: Exposures, events: pl.DataFrame) -> BoolArray:
    """Returns whether a conversion names the request and item of each exposure, (n,)."""
    converted = events.filter(pl.col("kind") == EventKind.conversion).select(PAIR).unique()
    marked = shown.frame.select(PAIR).join(
        converted.with_columns(is_converted=True), on=list(PAIR), how="left", maintain_order="left"
    )
    flags: BoolArray = marked["is_converted"].fill_null(value=False).to_numpy()
    return flags


def catalog_columns(dataset: Dataset, frame: pl.DataFrame) -> dict[str, Members]:
    """Returns exposures by what their items are: campaign, and band of the price."""
    found: dict[str, Members] = {}
    if _CAMPAIGN in frame.columns and frame[_CAMPAIGN].n_unique() > 1:
        found["campaign"] = members_of(frame[_CAMPAIGN].cast(pl.String).fill_null("none").to_list())
    prices = dataset.items[_PRICE] if _PRICE in dataset.items.columns else None
    if prices is not None and prices.dtype.is_numeric():
        of_items = np.concatenate([[np.nan], prices.cast(pl.Float64).fill_null(np.nan).to_numpy()])
        price = of_items[dataset.item_ids.encode(frame["item_id"])]
        bounds = np.nanquantile(price, np.arange(1, N_PRICE_BANDS) / N_PRICE_BANDS)
        band = np.searchsorted(bounds, price, side="right")
        names = [f"up to {bounds[0]:,.2f}", *(f"from {bound:,.2f}" for bound in bounds)]
        found["price"] = members_of(
            ["unknown" if np.isnan(p) else names[b] for p, b in zip(price, band, strict=True)]
        )
    return found


def _rows_of(of_run: HeadOfRun, frame: pl.DataFrame) -> IndexArray:
    """Returns the row of each exposure among those of the head, (n,) int64."""
    shown = of_run.exposures.shown
    known = pl.DataFrame(
        {
            "request_id": shown.frame["request_id"].gather(shown.request),
            "item_index": shown.item,
            "row": np.arange(len(shown)),
        }
    )
    items = of_run.item_ids.encode(frame[PAIR[1]])
    asked = frame.select("request_id", item_index=pl.Series(items))
    rows = asked.join(known, on=["request_id", "item_index"], how="left", maintain_order="left")["row"]
    assert rows.null_count() == 0, f"every {EventKind.exposure} of a part stands among all of them"
    return rows.to_numpy().astype(np.int64)
