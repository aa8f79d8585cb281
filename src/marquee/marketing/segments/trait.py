"""Computes segments: groups, names, sizes, what each brings, what sets it apart, and who moved."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from marquee.bundle.traits.columns import Column, encode
from marquee.bundle.traits.forms.files import FormFile, NoForm
from marquee.bundle.traits.forms.segments import N_FIFTHS, ClustersForm, FifthsForm, fifth_bounds
from marquee.core.arrays import Float64Array, IndexArray
from marquee.errors import ConfigError, DataError, MissingColumnError
from marquee.marketing.reading.customers import USER_ID, Customers
from marquee.marketing.reading.transactions import behaviour, orders_of
from marquee.marketing.reading.vectors import read_vectors
from marquee.marketing.scoring.encoding import Ages, column_values, fit_columns
from marquee.marketing.scoring.models import straight_terms
from marquee.marketing.segments.clusters import AGREEMENT, Clusters, find_clusters
from marquee.marketing.segments.config import SegmentConfig
from marquee.marketing.segments.naming import Trait, distinguish, keep_names, rhythm, unique_names
from marquee.marketing.segments.rfm import rfm_fifths, rfm_names
from marquee.marketing.traits import TraitContext, TraitResult
from marquee.marketing.versions import version_of

FormMaker = Callable[[str, list[str]], FormFile]
"""Makes what scores forms of a version and the name of each group."""

# Behaviour names a segment already: said twice it would only be longer.
_BEHAVIOUR = ("recency_days", "orders", "tenure_days", "mean_value", "total_value")


@dataclass(frozen=True)
class SegmentRow:
    """One segment.

    Attributes:
        name: Its name.
        n: Members.
        share: Of all customers.
        value: Mean of what a member brings; None where nothing says it.
        value_share: Of what all bring.
        traits: What sets it apart, the strongest first.
        at: Place on the map, two numbers.
    """

    name: str
    n: int
    share: float
    value: float | None
    value_share: float | None
    traits: tuple[Trait, ...]
    at: tuple[float, float]


@dataclass(frozen=True)
class JudgedSegments:
    """The segments of all customers.

    Attributes:
        by: `rfm` or `clusters`.
        rows: Largest value first, then the largest.
        agreement: k → NMI between seeds; empty of RFM.
        k: Number of segments.
        moves: (from, to) → customers, where both runs knew them and the segment changed.
        n_stayed: Customers who stayed.
        n_common: Customers whom both runs knew.
    """

    by: str
    rows: tuple[SegmentRow, ...]
    agreement: dict[int, float]
    k: int
    moves: dict[tuple[str, str], int]
    n_stayed: int
    n_common: int


def compute_segments(name: str, config: SegmentConfig, context: TraitContext) -> TraitResult:
    """Returns the segment of every customer.

    Raises:
        ConfigError: If what segments are made of is not there.
        DataError: If there are too few customers.
    """
    customers = context.customers
    cautions: list[str] = []
    agreement: dict[int, float] = {}
    make: FormMaker
    if config.by == "rfm":
        ids, label, bases, points, make = _rfm(name, customers, config.min_size, cautions)
    else:
        ids, found, points, make = _clusters(name, config, context)
        label, agreement = found.label, found.agreement
        bases = [""] * (int(label.max()) + 1)
        cautions += _agreement_cautions(found, len(found.centres))
    names, traits = _names(customers, ids, label, bases)
    named = np.array(names, dtype=object)[label]
    earlier = _earlier(name, context)
    kept = keep_names(named, ids, earlier)
    # A name that is taken over must not be that of another group of today.
    final = [kept.get(one, one if one not in kept.values() else f"{one} (new)") for one in names]
    named = np.array(final, dtype=object)[label]
    values = pl.DataFrame({USER_ID: ids, name: pl.Series(named.tolist(), dtype=pl.String)})
    rows = _rows(final, label, traits, _brought(config, customers, ids), points)
    moves, n_stayed, n_common = _moves(values, name, earlier)
    judged = JudgedSegments(config.by, rows, agreement, len(final), moves, n_stayed, n_common)
    version = version_of(name, config, context.version)
    return TraitResult(name, "segment", version, values, judged, tuple(cautions), form=make(version, final))


def _rfm(
    name: str, customers: Customers, min_size: int, cautions: list[str]
) -> tuple[list[str], IndexArray, list[str], Float64Array, FormMaker]:
    """Returns ids, label, name of each label, fifths as points, by the transactions, and a maker of forms."""
    if customers.transactions is None:
        raise ConfigError(
            f"customers.traits.{name} is made of transactions, and the config has none; add transactions: "
            "{path: …}, or set by: clusters"
        )
    transactions = customers.transactions
    behaved = behaviour(transactions.rows, transactions.as_of, transactions.has_values)
    # Among those who may be looked at: consent and erasure have thinned the rows.
    behaved = behaved.filter(pl.col(USER_ID).is_in(customers.ids.to_list()))
    found = rfm_fifths(behaved)
    r, f = found["r"].to_numpy(), found["f"].to_numpy()
    named = rfm_names(r, f)
    bases = sorted(set(named.tolist()), key=lambda one: (-int((named == one).sum()), one))
    small = [base for base in bases if (named == base).sum() < min_size]
    if small:
        cautions.append(f"Segments with fewer than {min_size} members: {', '.join(small)}.")
    place = {base: number for number, base in enumerate(bases)}
    label = np.array([place[one] for one in named.tolist()], dtype=np.int64)
    recency, orders = (behaved[column].cast(pl.Float64).to_numpy() for column in ("recency_days", "orders"))

    def make(version: str, final: list[str]) -> FormFile:
        """Returns the form, with the names that the groups have got."""
        given = dict(zip(bases, final, strict=True))
        fifths = np.arange(N_FIFTHS) + 1
        usual = rfm_names(np.repeat(fifths, N_FIFTHS), np.tile(fifths, N_FIFTHS)).tolist()
        names = [given.get(one, one) for one in usual]
        as_of = transactions.as_of
        return FifthsForm(name, version, as_of, fifth_bounds(-recency), fifth_bounds(orders), names)

    points = np.stack([f, r], axis=1).astype(np.float64)
    return found[USER_ID].to_list(), label, bases, points, make


def _clusters(
    name: str, config: SegmentConfig, context: TraitContext
) -> tuple[list[str], Clusters, Float64Array, FormMaker]:
    """Returns ids, clusters, the first two principal axes of the vectors, and a maker of forms."""
    customers = context.customers
    ids, vectors, space = _vectors(name, config, context)
    if not ids:
        raise DataError(f"customers.traits.{name}: none of {customers.rows.height} customers has a vector")
    found = find_clusters(vectors, config.k, config.max_k, config.min_size, context.seed)
    centred = vectors - vectors.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, :2]
    # An axis has no direction of its own: the largest entry is made positive.
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    points = centred @ axes
    if points.shape[1] < 2:
        points = np.column_stack([points, np.zeros(len(points))])

    def make(version: str, final: list[str]) -> FormFile:
        """Returns the form, with the names that the groups have got."""
        if space is None:
            return NoForm(name, "it is made of vectors of users, which no form holds")
        mean, spread = space.means.tolist(), space.spreads.tolist()
        centres = found.centres.tolist()
        return ClustersForm(
            name, version, customers.as_of, space.columns, space.terms, mean, spread, centres, final
        )

    return ids, found, points, make


@dataclass(frozen=True)
class _Space:
    """How attributes become points: the terms of a design, each less its mean and by its spread."""

    columns: list[Column]
    terms: list[int]
    means: Float64Array
    spreads: Float64Array


def _vectors(
    name: str, config: SegmentConfig, context: TraitContext
) -> tuple[list[str], Float64Array, _Space | None]:
    """Returns the vectors that clusters are made of, and how attributes become them."""
    customers, key = context.customers, f"customers.traits.{name}"
    if config.vectors:
        own, vectors = read_vectors(
            customers.rows.select(USER_ID), customers.root / config.vectors, f"{key}.vectors", customers.key
        )
        return own[USER_ID].to_list(), vectors, None
    names = config.columns or list(customers.kinds)
    unknown = [column for column in names if column not in customers.kinds]
    if unknown or not names:
        raise MissingColumnError(
            f"{key}.columns names {unknown}, and may name {list(customers.kinds)}; left out are "
            f"{customers.left_out}"
        )
    values = column_values(customers.rows, names)
    columns = fit_columns(values, Ages(frozenset(), customers.as_of or 0.0))
    # Distances need no bends: they would count a number several times.
    terms = straight_terms(columns)
    design = encode(columns, values)[:, terms]
    spread = design.std(axis=0)
    space = _Space(columns, terms, design.mean(axis=0), np.where(spread > 0, spread, 1.0))
    return customers.ids.to_list(), (design - space.means) / space.spreads, space


def _names(
    customers: Customers, ids: list[str], label: IndexArray, bases: list[str]
) -> tuple[list[str], list[tuple[Trait, ...]]]:
    """Returns a name per label, and what sets each apart."""
    rows = pl.DataFrame({USER_ID: ids}).join(customers.rows, on=USER_ID, how="left", maintain_order="left")
    # A protected column must not name a group of people.
    columns = [name for name in customers.kinds if name not in customers.protected]
    if any(bases):
        columns = [name for name in columns if name not in _BEHAVIOUR]
    traits = [tuple(distinguish(rows, label == number, columns)) for number in range(len(bases))]
    words = [[trait.words for trait in found] for found in traits]
    if customers.transactions is not None:
        orders = orders_of(customers.transactions.rows)
        id_of = np.array(ids, dtype=object)
        for number, own in enumerate(words):
            pace = rhythm(orders, id_of[label == number].tolist())
            # One attribute, then the rhythm: `champions · Sci-Fi · weekly`.
            own[1:1] = [pace] if pace else []
    return unique_names(bases, words), traits


def _brought(config: SegmentConfig, customers: Customers, ids: list[str]) -> Float64Array | None:
    """Returns the value of each customer, None where nothing says it."""
    column = config.value or ("total_value" if "total_value" in customers.rows.columns else "")
    if not column:
        return None
    if column not in customers.rows.columns or not customers.rows[column].dtype.is_numeric():
        raise MissingColumnError(
            f"value must be a column of numbers, got {column!r}; there are {customers.rows.columns}"
        )
    own = pl.DataFrame({USER_ID: ids}).join(
        customers.rows.select(USER_ID, column), on=USER_ID, how="left", maintain_order="left"
    )
    return own[column].cast(pl.Float64).fill_null(0.0).to_numpy()


def _rows(
    names: list[str],
    label: IndexArray,
    traits: list[tuple[Trait, ...]],
    brought: Float64Array | None,
    points: Float64Array,
) -> tuple[SegmentRow, ...]:
    """Returns the segments, those that bring most first."""
    total = None if brought is None else float(brought.sum())
    rows = []
    for number, name in enumerate(names):
        own = label == number
        mean = None if brought is None else float(brought[own].mean())
        share = None if brought is None or not total else float(brought[own].sum()) / total
        x, y = points[own].mean(axis=0).tolist()
        rows.append(SegmentRow(name, int(own.sum()), float(own.mean()), mean, share, traits[number], (x, y)))
    return tuple(sorted(rows, key=lambda row: (-(row.value or 0.0), -row.n, row.name)))


def _earlier(name: str, context: TraitContext) -> dict[str, str]:
    """Returns customer → segment of the last run."""
    table = context.previous.get(name)
    if table is None or table[name].dtype != pl.String:
        return {}
    return dict(table.select(USER_ID, name).drop_nulls().iter_rows())


def _moves(
    values: pl.DataFrame, name: str, earlier: dict[str, str]
) -> tuple[dict[tuple[str, str], int], int, int]:
    """Returns who moved from where to where, how many stayed, and how many both runs knew."""
    moves: dict[tuple[str, str], int] = {}
    n_stayed = n_common = 0
    for one, now in values.select(USER_ID, name).iter_rows():
        before = earlier.get(one)
        if before is None:
            continue
        n_common += 1
        if before == now:
            n_stayed += 1
        else:
            moves[before, now] = moves.get((before, now), 0) + 1
    return dict(sorted(moves.items(), key=lambda one: (-one[1], one[0]))), n_stayed, n_common


def _agreement_cautions(found: Clusters, k: int) -> list[str]:
    """Returns whether seeds agree on the clusters."""
    agreed = found.agreement[k]
    if agreed >= AGREEMENT:
        return []
    return [
        f"Seeds do not agree on {k} clusters (NMI {agreed:.2f}, {AGREEMENT} is asked): another draw groups "
        "other people."
    ]
