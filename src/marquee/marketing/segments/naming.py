"""Names segments by what sets them apart, and keeps a name with its people from run to run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from marquee.core.arrays import BoolArray

SEPARATOR = " · "
N_WORDS = 2
_MIN_SHARE, _MIN_LIFT = 0.25, 1.25
# Of a standard deviation between the means.
_MIN_SHIFT = 0.4
# Days between two orders up to which a rhythm is called so.
_RHYTHMS = ((2, "daily"), (10, "weekly"), (20, "fortnightly"), (45, "monthly"), (120, "quarterly"))
KEPT = 0.5


@dataclass(frozen=True)
class Trait:
    """Something that sets a segment apart.

    Attributes:
        words: E.g. `Sci-Fi` or `high fee`.
        column: Of the attribute.
        strength: By which traits are ordered.
        inside: Share or mean of the members.
        outside: That of all customers.
    """

    words: str
    column: str
    strength: float
    inside: float
    outside: float


def distinguish(rows: pl.DataFrame, is_member: BoolArray, columns: Sequence[str]) -> list[Trait]:
    """Returns the attributes that set members apart from all customers, the strongest first.

    Args:
        rows: All customers.
        is_member: (n,) bool.
        columns: Attributes to look at.
    """
    found = []
    for name in columns:
        column = rows[name]
        if column.dtype == pl.String:
            found += _levels(column, is_member)
        elif column.dtype.is_numeric():
            found += _shift(column, is_member)
    return sorted(found, key=lambda trait: (-trait.strength, trait.words))


def _levels(column: pl.Series, is_member: BoolArray) -> list[Trait]:
    """Returns the level that is most over-represented, if one is."""
    texts = column.fill_null("(missing)").to_numpy()
    n = int(is_member.sum())
    best: list[Trait] = []
    for level in sorted(set(texts[is_member].tolist())):
        is_level = texts == level
        inside, outside = float(is_level[is_member].mean()), float(is_level.mean())
        if inside < _MIN_SHARE or inside / outside < _MIN_LIFT:
            continue
        # In standard errors of a draw of so many customers: lift alone favours what is rare.
        error = (outside * (1 - outside) / n) ** 0.5
        z = (inside - outside) / error if error > 0 else 0.0
        words = level if not _says_little(level) else f"{column.name}: {level}"
        best.append(Trait(words, column.name, z / n**0.5, inside, outside))
    return sorted(best, key=lambda trait: (-trait.strength, trait.words))[:1]


def _says_little(level: str) -> bool:
    """Returns whether a value says nothing without the name of its column."""
    return level.lower() in ("yes", "no", "true", "false", "0", "1", "(missing)", "other", "unknown") or (
        level.replace(".", "").isdigit()
    )


def _shift(column: pl.Series, is_member: BoolArray) -> list[Trait]:
    """Returns whether a number is high or low in a segment."""
    values = column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    known = values[~np.isnan(values)]
    own = values[is_member & ~np.isnan(values)]
    if not len(own) or known.std() == 0:
        return []
    shift = float((own.mean() - known.mean()) / known.std())
    if abs(shift) < _MIN_SHIFT:
        return []
    words = f"{'high' if shift > 0 else 'low'} {column.name}"
    return [Trait(words, column.name, abs(shift), float(own.mean()), float(known.mean()))]


def rhythm(orders: pl.DataFrame, members: Sequence[str]) -> str:
    """Returns how often members order: `weekly` and the like, `once`, or an empty text.

    Args:
        orders: `user_id` and `day`, one row per order.
        members: Ids.
    """
    own = orders.filter(pl.col("user_id").is_in(list(members))).sort("user_id", "day")
    gaps = own.with_columns((pl.col("day") - pl.col("day").shift(1).over("user_id")).alias("gap"))
    counts = own.group_by("user_id").len()
    if counts.is_empty():
        return ""
    if float(counts["len"].median() or 0) <= 1:  # type: ignore[arg-type] # of numbers
        return "once"
    gap = float(gaps["gap"].drop_nulls().median() or 0)  # type: ignore[arg-type] # of numbers
    return next((word for most, word in _RHYTHMS if gap <= most), "rarely")


def unique_names(bases: Sequence[str], traits: Sequence[Sequence[str]]) -> list[str]:
    """Returns a name per segment: its base and what sets it apart, and no two alike.

    Args:
        bases: E.g. `champions`; empty for none.
        traits: Words that set each apart, the strongest first.

    Example:
        >>> unique_names(["", ""], [["young", "city"], ["young"]])
        ['young · city', 'young']
    """
    names: list[str] = []
    for base, words in zip(bases, traits, strict=True):
        parts = [part for part in (base, *words[:N_WORDS]) if part] or ["like all"]
        name = SEPARATOR.join(parts)
        for extra in [*words[N_WORDS:], *(str(number) for number in range(2, len(bases) + 2))]:
            if name not in names:
                break
            name = SEPARATOR.join([*parts, extra])
        names.append(name)
    return names


def keep_names(
    label: npt.NDArray[np.object_], ids: Sequence[str], earlier: Mapping[str, str]
) -> dict[str, str]:
    """Returns new name → the name that most of its people had in the last run, where it is the same group.

    Two groups are the same if their common members are more than half of all members of either.

    Args:
        label: Name of each customer now, (n,).
        ids: Of the customers.
        earlier: Customer → name in the last run.
    """
    now = dict(zip(ids, label.tolist(), strict=True))
    # Of those who are in both: people come and go without a segment becoming another.
    both = [one for one in ids if one in earlier]
    overlaps: dict[tuple[str, str], int] = {}
    sizes: dict[tuple[str, str], int] = {}
    for one in both:
        pair = now[one], earlier[one]
        overlaps[pair] = overlaps.get(pair, 0) + 1
        for key in (("new", pair[0]), ("old", pair[1])):
            sizes[key] = sizes.get(key, 0) + 1
    kept: dict[str, str] = {}
    for (new, old), n in sorted(overlaps.items(), key=lambda one: (-one[1], one[0])):
        union = sizes["new", new] + sizes["old", old] - n
        if n > KEPT * union and new not in kept and old not in kept.values():
            kept[new] = old
    return kept
