"""Estimates a policy with the model of a run, by what the log of the run's data shows of another policy."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from marquee.core.arrays import BoolArray, FloatArray
from marquee.core.event_kinds import EventKind
from marquee.core.ids import PADDING_INDEX
from marquee.data.dataset import Dataset
from marquee.data.exposures import PAIR, Exposures, request_queries
from marquee.decision.policies.config import PolicyName
from marquee.decision.policies.thompson import ClickCounts
from marquee.errors import DataError
from marquee.evaluation.off_policy.logged import UNKNOWN, SlateLog, Spread, read_slates, weigh_candidate
from marquee.evaluation.off_policy.policy import (
    EstimatedPolicy,
    PolicyOnLogConfig,
    Question,
    spread_policy,
)
from marquee.evaluation.off_policy.slates import estimate_slates
from marquee.nn.embed import embed_catalog, embed_queries
from marquee.nn.models import TwoTower
from training.config import TrainConfig
from training.runs.prepare import Prepared

_BLOCK = 512
"""Lists that are scored at once."""


@dataclass(frozen=True)
class LoggedPart:
    """The lists of the judged part of a run's data, and what was known before it.

    Attributes:
        log: The lists.
        asked: Their exposures, in their order.
        before: Canonical events up to the part.
        was_shown: Items that the log has shown, (n_items + 1,) bool.
        notes: What to know, one sentence each.
        generator: Draws the folds of the reward model.
    """

    log: SlateLog
    asked: pl.DataFrame
    before: pl.DataFrame
    was_shown: BoolArray
    notes: tuple[str, ...]
    generator: np.random.Generator


def read_logged_part(config: PolicyOnLogConfig, prepared: Prepared, run: TrainConfig) -> LoggedPart:
    """Returns the lists of the judged part.

    Args:
        config: Which lists are asked.
        prepared: The data of the run.
        run: Says which part is judged.

    Raises:
        DataError: If the part has no exposures with propensities, or these cannot be used.
    """
    dataset, split = prepared.dataset, prepared.split
    part, before = split.validation, split.before_validation
    if run.evaluation.test:
        part, before = split.test, split.before_test
    rows = _exposures(config, dataset, part)
    generator = np.random.default_rng(config.seed)
    log = read_slates(rows, config.max_lists, generator)
    notes = _notes(config, log, part)
    if config.places:
        log = log.first(config.places)
    asked = pl.DataFrame({"request_id": log.request_ids}).join(
        rows, on="request_id", how="left", maintain_order="left"
    )
    was_shown = np.zeros(dataset.n_items + 1, dtype=np.bool_)
    for frame in (rows, _exposures(config, dataset, before)):
        was_shown[frame["number"].filter(frame["number"] >= 0).to_numpy()] = True
    return LoggedPart(log, asked, before, was_shown, notes, generator)


def estimate_spreads(
    config: PolicyOnLogConfig, part: LoggedPart, spreads: Iterable[Spread], name: str
) -> EstimatedPolicy:
    """Returns the value of a candidate by its probabilities at the places of the lists.

    Args:
        config: How it is estimated.
        part: The lists.
        spreads: Of the candidate, one per list, in their order.
        name: Of the candidate, for people.
    """
    lists = weigh_candidate(part.log, spreads, part.was_shown, part.generator)
    return EstimatedPolicy(
        name=name,
        found=estimate_slates(lists, config.browsing, config.clip),
        n_users=len(np.unique(part.log.user)),
        policies=part.log.policies,
        notes=part.notes,
    )


def estimate_run(
    config: PolicyOnLogConfig, prepared: Prepared, model: TwoTower, run: TrainConfig
) -> EstimatedPolicy:
    """Estimates what a policy with the model of a run would have earned on the judged part of its log.

    Args:
        config: The policy, and which lists are asked.
        prepared: The data of the run.
        model: Of the run; it has learned from nothing in the judged part.
        run: Says which part is judged, and whether items that a user had are left out.

    Raises:
        DataError: If the part has no exposures with propensities, or these cannot be used.
    """
    part = read_logged_part(config, prepared, run)
    dataset = prepared.dataset
    counts = _counts(config, dataset, part.before) if config.policy is PolicyName.thompson else None
    questions = _questions(config, dataset, part.asked, part.before, model, run)
    return estimate_spreads(config, part, spread_policy(config, part.log, questions, counts), config.policy)


def _exposures(config: PolicyOnLogConfig, dataset: Dataset, part: pl.DataFrame) -> pl.DataFrame:
    """Returns the exposures of a part on the surface and of the kind, with item number and reward.

    Raises:
        DataError: If the events have no propensities, or no requests.
    """
    missing = {"request_id", "position", "propensity"} - set(part.columns)
    if missing:
        raise DataError(
            "the events must say request_id, position and propensity of exposures, got no "
            f"{sorted(missing)}; train on the table of an event log, or give a table of decisions (ope=table)"
        )
    shown = part.filter((pl.col("kind") == EventKind.exposure) & pl.col("request_id").is_not_null())
    # An event log names its surfaces; a table without them has one.
    if config.surface:
        shown = shown.filter(pl.col("surface").cast(pl.String) == config.surface)
    index = dataset.item_ids.encode(shown["item_id"])
    if config.kind is not None:
        # Row 0 for items outside the catalog: they stay, for the log did put them there.
        kinds = np.array(["", *dataset.items["kind"].to_list()])[index]
        keep = (kinds == config.kind.value) | (kinds == "")
        shown, index = shown.filter(pl.Series(keep)), index[keep]
    came = part.filter(pl.col("kind") == config.reward)
    value = pl.col("value").fill_null(0.0).sum() if config.sums_values else pl.lit(1.0).first()
    rewards = came.group_by(PAIR).agg(value.alias("reward"))
    return (
        shown.with_columns(number=pl.Series(np.where(index == PADDING_INDEX, UNKNOWN, index)))
        .join(rewards, on=PAIR, how="left", maintain_order="left")
        # Categories of two frames do not join.
        .with_columns(pl.col("reward").fill_null(0.0), pl.col("request_id").cast(pl.String))
        .sort("timestamp", maintain_order=True)
    )


def _notes(config: PolicyOnLogConfig, log: SlateLog, part: pl.DataFrame) -> tuple[str, ...]:
    """Returns one sentence for each thing to know of the lists."""
    notes = []
    left_out = sum(log.left_out.values())
    if left_out:
        notes.append(
            f"{left_out:,} lists of policies that never explored ({', '.join(log.left_out)}) say nothing of "
            "others and are left out"
        )
    if len(log.policies) > 1:
        said = ", ".join(f"{name or 'no name'} {n:,}" for name, n in log.policies.items())
        notes.append(f"several policies logged, each place is weighed by its own propensity: {said} lists")
    n_lists = sum(log.policies.values())
    if n_lists > len(log.request_ids):
        notes.append(f"{len(log.request_ids):,} of {n_lists:,} lists are drawn; see ope.max_lists")
    n_unknown = int(((log.item < 0) & ~np.isnan(log.reward)).sum())
    if n_unknown:
        notes.append(f"{n_unknown:,} shown items are not in the catalog: the candidate would not show them")
    if not (part["kind"] == config.reward).any():
        notes.append(f"no event of the part is of kind {config.reward!r}: every reward is 0")
    return tuple(notes)


def _questions(
    config: PolicyOnLogConfig,
    dataset: Dataset,
    asked: pl.DataFrame,
    before: pl.DataFrame,
    model: TwoTower,
    run: TrainConfig,
) -> Iterator[Question]:
    """Yields scores and allowed items of each list, in the order of `asked`."""
    first = asked.unique("request_id", keep="first", maintain_order=True)
    queries, _ = request_queries(dataset, Exposures(asked, np.zeros(asked.height, np.bool_), 0, 0), before)
    item_vectors = embed_catalog(model)  # (n_items + 1, dim)
    embedded = embed_queries(model, item_vectors, queries)  # (n_lists, dim)
    seen = _seen(dataset, asked, before) if run.evaluation.exclude_seen else {}
    moments = first["timestamp"].to_list()
    for start in range(0, len(embedded), _BLOCK):
        scores: FloatArray = embedded[start : start + _BLOCK] @ item_vectors.T
        for row, own in enumerate(scores, start=start):
            # A copy: the mask is the catalog's own.
            allowed = dataset.catalog.allowed(config.kind, moments[row]).flags.copy()
            allowed[seen.get(first["user_id"][row], [])] = False
            yield Question(own, allowed)


def _seen(dataset: Dataset, asked: pl.DataFrame, before: pl.DataFrame) -> dict[str, list[int]]:
    """Returns the items that each user had before the part."""
    counted = before.filter(
        pl.col("kind").is_in(list(dataset.kinds.configs)) & pl.col("user_id").is_in(asked["user_id"].unique())
    )
    numbered = counted.select("user_id", item=pl.Series(dataset.item_ids.encode(counted["item_id"])))
    return dict(numbered.group_by("user_id").agg(pl.col("item").unique()).iter_rows())


def _counts(config: PolicyOnLogConfig, dataset: Dataset, before: pl.DataFrame) -> ClickCounts:
    """Returns how often each item was shown and clicked before the part."""
    # Clicks, whatever the reward is: that is what the policy draws by.
    clicks = replace(config, reward=EventKind.click.value, sums_values=False)
    shown = _exposures(clicks, dataset, before)
    known = shown.filter(pl.col("number") >= 0)
    number, clicked = known["number"].to_numpy(), (known["reward"] > 0).to_numpy()
    n = dataset.n_items + 1
    return ClickCounts(
        np.bincount(number[clicked], minlength=n).astype(np.float64),
        np.bincount(number, minlength=n).astype(np.float64),
    )
