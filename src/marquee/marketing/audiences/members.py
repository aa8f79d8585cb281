"""Who belongs to an audience: a condition, an order, a bound, and who is held back at random."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import polars as pl

from marquee.evaluation.analyses.fairness import BoundFinding
from marquee.marketing.audiences.fairness import AudienceGaps, audience_gaps
from marquee.marketing.audiences.lookalike import JudgedLookalike
from marquee.marketing.conditions import evaluate, names_trait, read_expression
from marquee.marketing.config import AudienceConfig, Purpose
from marquee.marketing.reading.customers import USER_ID

FLOOR = 100
CONTACT, HOLDOUT = "contact", "holdout"
GROUP, POSITION = "group", "position"


@dataclass(frozen=True)
class Audience:
    """An audience with its members.

    Attributes:
        name: Its name.
        members: `user_id`, `group`, `position` from 1, and the column of the order if there is one.
        n_of: Customers who could have been members.
        purpose: What it is for.
        refused: Why no file is written; empty if one is.
        expected: Sum of the order's column over those who are spoken to; None without an order.
        lookalike: How well seeds are found again; None without seeds.
        gaps: By protected column; none where there are no members.
    """

    name: str
    members: pl.DataFrame
    n_of: int
    purpose: Purpose
    refused: str = ""
    expected: float | None = None
    lookalike: JudgedLookalike | None = None
    gaps: tuple[AudienceGaps, ...] = ()

    @property
    def ids(self) -> set[str]:
        """The members."""
        return set(self.members[USER_ID].to_list())


def choose_members(
    name: str, config: AudienceConfig, rows: pl.DataFrame, seed: int, refused: dict[str, str]
) -> Audience:
    """Returns the members of an audience.

    Args:
        name: Of the audience.
        config: The declaration.
        rows: Customers with their traits.
        seed: Of the holdout.
        refused: Trait → why it must not be used.

    Raises:
        MissingColumnError: If the condition or the order names something that is not there.
        ConfigError: If they cannot be computed.
    """
    chosen = rows
    key = f"customers.audiences.{name}"
    used = [trait for trait in refused if names_trait(f"{config.where} {config.order}", trait, rows.columns)]
    if used:
        return Audience(
            name, _nobody(), rows.height, config.purpose, f"{used[0]} is refused: {refused[used[0]]}"
        )
    if config.where:
        # A customer of whom a trait says nothing fulfils no condition on it.
        chosen = chosen.filter(evaluate(config.where, rows, f"{key}.where").holds.fill_null(False))
    if config.order:
        order = read_expression(config.order, rows, f"{key}.order")
        # Then by id: equal values must not follow the order of the file.
        chosen = chosen.with_columns(order.alias("__order")).filter(pl.col("__order").is_not_null())
        if chosen["__order"].dtype.is_float():
            # A division by 0 gives no number, which would stand before all others.
            chosen = chosen.filter(pl.col("__order").is_finite())
        chosen = chosen.sort("__order", USER_ID, descending=[True, False])
    # Rounded first: 0.3 / 0.1 is a little less than the 3 contacts that it pays for.
    n_paid = int(round(config.budget / config.cost, 9)) if config.cost else 0
    bounds = [bound for bound in (config.top, n_paid) if bound]
    chosen = chosen.head(min(bounds)) if bounds else chosen
    groups = [draw_group(name, one, config.holdout, seed) for one in chosen[USER_ID].to_list()]
    label = config.order if config.order.isidentifier() else "order"
    shown = [pl.col("__order").alias(label)] if config.order else []
    members = chosen.select(
        USER_ID,
        pl.Series(GROUP, groups, pl.String),
        pl.int_range(1, chosen.height + 1, dtype=pl.Int64).alias(POSITION),
        *shown,
    )
    expected = None
    if config.order and chosen["__order"].dtype.is_numeric():
        expected = float(members.filter(pl.col(GROUP) == CONTACT)[label].sum())
    return Audience(
        name,
        members,
        rows.height,
        config.purpose,
        floor_refusal(name, members.height, config.purpose),
        expected,
    )


def draw_group(audience: str, user_id: str, holdout: float, seed: int) -> str:
    """Returns `contact` or `holdout` for a member, the same in every run.

    Args:
        audience: Its name: two audiences hold back different people.
        user_id: Of the member.
        holdout: Share to hold back.
        seed: Of the config.
    """
    digest = hashlib.sha256(f"{seed}\0{audience}\0{user_id}".encode()).digest()
    position = int.from_bytes(digest[:8]) / 2**64
    return HOLDOUT if position < holdout else CONTACT


def floor_refusal(name: str, n: int, purpose: Purpose) -> str:
    """Returns why an audience of a size is not written, an empty text if it is."""
    if n == 0:
        return f"the audience {name} is empty: nobody fulfils its condition; loosen it"
    if n < FLOOR and purpose is not Purpose.contact:
        return (
            f"the audience {name} has {n} members and needs {FLOOR}, so that nobody can be told from it; "
            "loosen its condition, or set purpose: contact for a list of people whom you will speak to"
        )
    return ""


def with_gaps(
    audience: Audience, config: AudienceConfig, rows: pl.DataFrame, protected: Sequence[str]
) -> Audience:
    """Returns an audience with its gaps, refused where one is beyond what the config allows.

    Args:
        audience: Its members.
        config: The declaration.
        rows: Customers who could have been members, with the protected columns.
        protected: Columns whose groups are compared.
    """
    # Below its floor an audience tells nothing of its members, so nothing of their groups either.
    if audience.refused or audience.members.is_empty():
        return audience
    gaps = tuple(
        audience_gaps(
            name,
            rows[name],
            rows[USER_ID],
            audience.members,
            is_ordered=bool(config.order or config.seeds),
            gap_at_most=config.gap_at_most,
        )
        for name in protected
    )
    failed = next(
        (one for one in gaps if one.largest and one.largest.bound is BoundFinding.fails),
        None,
    )
    return replace(audience, gaps=gaps, refused=_gap_refusal(audience.name, config, failed))


def _gap_refusal(name: str, config: AudienceConfig, failed: AudienceGaps | None) -> str:
    """Returns why an audience with such a gap is not written, an empty text if it is."""
    if failed is None or failed.largest is None:
        return ""
    gap = failed.largest
    by = "by numbers that may not be shown"
    if gap.difference is not None:
        by = f"by {gap.difference.mean:.3f} ({gap.difference.low:.3f} to {gap.difference.high:.3f})"
    return (
        f"the audience {name} chooses {failed.column} = {gap.higher} more often than {gap.lower} {by}, and "
        f"gap_at_most is {config.gap_at_most:g}; change its condition, or the bound if the gap is meant"
    )


def _nobody() -> pl.DataFrame:
    """Returns no members."""
    return pl.DataFrame(schema={USER_ID: pl.String, GROUP: pl.String, POSITION: pl.Int64})
