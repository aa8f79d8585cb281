"""Reads the tables of customers into one row per customer, with every column accounted for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from marquee.bundle.traits.pseudonyms import pseudonym
from marquee.core.schema import Column, ColumnType
from marquee.data.declared_table import MAX_REJECTED_FRACTION, read_declared_table
from marquee.data.reading.quality import TableQuality
from marquee.data.reading.sources import open_sources
from marquee.data.table_config import TableConfig, TableFormat
from marquee.errors import ConfigError, DataError
from marquee.marketing.config import CustomersConfig, Kind
from marquee.marketing.reading.kinds import type_columns
from marquee.marketing.reading.transactions import Transactions, behaviour, clean_transactions

USER_ID = "user_id"
TIMESTAMP = "timestamp"
_ZIP = b"PK\x03\x04"
PERSONAL, SEGMENT, NONE = "personal", "segment", "none"


@dataclass(frozen=True)
class Customers:
    """The customers and all that is known of them.

    Attributes:
        rows: `user_id`, then every column in its type, also those that are not used; in the file's order.
        kinds: Column → kind of those that traits may use.
        left_out: Column → why traits do not use it.
        transactions: Purchases, None where there is no such table.
        as_of: Moment up to which things are known, seconds since 1970; None where nothing says it.
        notes: What looks odd, one sentence each.
        protected: Columns that slice the report.
        consent: `personal` or `segment` per row; those who agreed to nothing are not among the rows.
        erased: Ids that must not appear anywhere.
        n_without_consent: Customers left out because they agreed to nothing.
        key: That ids are hashed with; empty for plain ids.
        root: Where paths start.
    """

    rows: pl.DataFrame
    kinds: dict[str, Kind]
    left_out: dict[str, str]
    transactions: Transactions | None = None
    as_of: float | None = None
    notes: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    consent: pl.Series = field(default_factory=lambda: pl.Series("consent", [], pl.String))
    erased: frozenset[str] = frozenset()
    n_without_consent: int = 0
    key: bytes = b""
    root: Path = Path()

    @property
    def ids(self) -> pl.Series:
        """The ids, in the order of the rows."""
        return self.rows[USER_ID]

    @property
    def may_be_scored(self) -> pl.Series:
        """Whether a customer agreed to traits of their own, per row."""
        return self.consent == PERSONAL


def read_customers(config: CustomersConfig, key: bytes = b"") -> Customers:
    """Reads the tables that a config declares.

    Args:
        config: The declaration.
        key: That ids are hashed with; empty for plain ids.

    Raises:
        DataError: If a table cannot be read as declared; the message names column, value, count and row.
    """
    root = Path(config.root)
    notes: list[str] = []
    erased = read_ids(root / config.erased) if config.erased else frozenset()
    transactions = _read_transactions(config, root, erased, notes)
    as_of = config.moment if transactions is None else transactions.as_of
    users = _read_users(config, root, notes)
    rows = _joined(users, transactions)
    rows = rows.filter(~pl.col(USER_ID).is_in(list(erased)))
    consent = read_consent(rows, config.consent)
    n_before = rows.height
    rows = rows.filter(consent != NONE)
    if rows.is_empty():
        raise DataError(
            f"no customer is left of {n_before:,}, {n_before - rows.height:,} agreed to nothing and "
            f"{len(erased):,} are erased; look at consent and erased"
        )
    # Empty consent is none: nobody has agreed by saying nothing.
    kept = consent.filter(consent != NONE)
    typed = type_columns(rows.drop(USER_ID), config.columns, as_of)
    notes += typed.notes
    left_out = dict(typed.left_out)
    for names, why in (
        (config.known_after, "known after the outcome"),
        ([] if config.use_protected else config.protected, "protected"),
        ([config.consent] if config.consent else [], "the consent itself"),
        ([TIMESTAMP], "says when the row was made"),
    ):
        for name in names:
            if name not in typed.columns and name != TIMESTAMP and name not in left_out:
                raise DataError(
                    f"the table has no column {name!r}, it has {rows.columns}; correct the config"
                )
            if name in typed.columns:
                typed.kinds.pop(name, None)
                left_out[name] = why
    ids = rows[USER_ID]
    if key:
        ids = pl.Series(USER_ID, [pseudonym(one, key) for one in ids.to_list()], pl.String)
        if transactions is not None:
            transactions = _with_pseudonyms(transactions, key)
        erased = frozenset(pseudonym(one, key) for one in erased)
    return Customers(
        rows=pl.DataFrame([ids, *typed.columns.values()]),
        kinds=typed.kinds,
        left_out=left_out,
        transactions=transactions,
        as_of=as_of,
        notes=tuple(notes),
        protected=tuple(config.protected),
        consent=kept,
        erased=erased,
        n_without_consent=n_before - rows.height,
        key=key,
        root=root,
    )


def read_ids(path: Path) -> frozenset[str]:
    """Returns the ids of a file, one per line.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeError) as error:
        raise DataError(f"{path} cannot be read: {error}; expected one user id per line") from error
    return frozenset(line.strip() for line in lines if line.strip())


def read_user_rows(
    table: TableConfig,
    root: Path,
    max_rejected_fraction: float = MAX_REJECTED_FRACTION,
    notes: list[str] | None = None,
) -> pl.DataFrame:
    """Returns a table of customers as it is written, `user_id` first.

    Args:
        table: Its declaration.
        root: Where its path starts.
        max_rejected_fraction: Of its rows that may be wrong.
        notes: To add what looks odd to.

    Raises:
        DataError: If the table cannot be read, or an id stands in several rows.
    """
    notes = [] if notes is None else notes
    has_id = _has_column(table, root, "users", USER_ID)
    columns = [Column(USER_ID, required=True)] if has_id else []
    if TIMESTAMP in table.columns:
        columns.append(Column(TIMESTAMP, ColumnType.timestamp))
    rows, quality = read_declared_table(
        table, root, columns, {}, "customers", max_rejected_fraction, keep_rest=True, name="users"
    )
    notes += quality_notes(quality)
    if not has_id:
        notes.append("the table of users has no id: the number of the row is one (say columns: {user_id: …})")
        rows = rows.with_row_index(USER_ID, offset=1).with_columns(pl.col(USER_ID).cast(pl.String))
    elif table.unique:
        rows = rows.unique(USER_ID, keep="first", maintain_order=True)
    _require_distinct(rows)
    return rows.select(USER_ID, *[name for name in rows.columns if name != USER_ID])


def _read_users(config: CustomersConfig, root: Path, notes: list[str]) -> pl.DataFrame | None:
    """Returns the table of customers, None where none is declared."""
    if config.users is None:
        return None
    return read_user_rows(config.users, root, config.max_rejected_fraction, notes)


def _require_distinct(rows: pl.DataFrame) -> None:
    """Raises DataError if an id stands in several rows."""
    counts = (
        rows[USER_ID]
        .value_counts(sort=True)
        .filter(pl.col("count") > 1)
        .sort("count", USER_ID, descending=[True, False])
    )
    if counts.height:
        one, n = counts.row(0)
        places = (rows.with_row_index("row", offset=1).filter(pl.col(USER_ID) == one)["row"]).to_list()[:3]
        raise DataError(
            f"user_id {one!r} stands in {n:,} rows, the first are {places}, and {counts.height:,} ids "
            "stand in several; keep one row per customer, set users.unique=true for the first of each, or "
            "declare the table as transactions"
        )


def _read_transactions(
    config: CustomersConfig, root: Path, erased: frozenset[str], notes: list[str]
) -> Transactions | None:
    """Returns the purchases, None where no such table is declared."""
    if config.transactions is None:
        return None
    table = config.transactions
    columns = [Column(USER_ID, required=True), Column(TIMESTAMP, ColumnType.timestamp, required=True)]
    if _has_column(table, root, "transactions", "value"):
        columns.append(Column("value", ColumnType.number))
    rows, quality = read_declared_table(
        table, root, columns, {}, "customers", config.max_rejected_fraction, name="transactions"
    )
    notes += quality_notes(quality)
    found = clean_transactions(rows.filter(~pl.col(USER_ID).is_in(list(erased))), config.moment)
    if found.rows.is_empty():
        raise DataError(
            f"no purchase is left of {rows.height:,}, {found.left_out}; look at as_of={config.as_of!r} and "
            "at transactions.columns"
        )
    notes += [f"{n:,} transactions left out: {reason}" for reason, n in found.left_out.items()]
    notes += found.notes
    return found


def _with_pseudonyms(transactions: Transactions, key: bytes) -> Transactions:
    """Returns the purchases with hashed ids."""
    known = transactions.rows[USER_ID].unique().to_list()
    names = {one: pseudonym(one, key) for one in known}
    rows = transactions.rows.with_columns(pl.col(USER_ID).replace_strict(names, return_dtype=pl.String))
    return Transactions(
        rows, transactions.as_of, transactions.has_values, transactions.left_out, transactions.notes
    )


def _joined(users: pl.DataFrame | None, transactions: Transactions | None) -> pl.DataFrame:
    """Returns one row per customer: attributes, then behaviour up to the present."""
    if transactions is None:
        assert users is not None, "the config has one of the two tables"
        return users
    behaved = behaviour(transactions.rows, transactions.as_of, transactions.has_values)
    if users is None:
        return behaved
    taken = sorted(set(users.columns) & set(behaved.columns) - {USER_ID})
    if taken:
        raise ConfigError(
            f"the table of users has columns {taken}, which are computed of the transactions; rename them in "
            "users.columns"
        )
    return users.join(behaved, on=USER_ID, how="left", maintain_order="left")


def read_consent(rows: pl.DataFrame, column: str) -> pl.Series:
    """Returns the consent of each customer: `personal`, `segment` or `none`.

    Args:
        rows: Of customers.
        column: That holds it; empty if all agreed.

    Raises:
        DataError: If there is no such column, or a word that is no consent.
    """
    if not column:
        return pl.Series("consent", [PERSONAL] * rows.height, pl.String)
    if column not in rows.columns:
        raise DataError(
            f"the table has no column {column!r} of consent, it has {rows.columns}; correct consent"
        )
    texts = rows[column].cast(pl.String).str.strip_chars().str.to_lowercase().fill_null(NONE)
    texts = texts.replace({"": NONE})
    wrong = texts.filter(~texts.is_in([PERSONAL, SEGMENT, NONE]))
    if len(wrong):
        row = int((~texts.is_in([PERSONAL, SEGMENT, NONE])).arg_max() or 0) + 1
        raise DataError(
            f"column {column} must be personal, segment, none or empty, got {wrong[0]!r} in row "
            f"{row:,} and {len(wrong):,} such values; map it in users.columns"
        )
    return texts.alias("consent")


def _has_column(table: TableConfig, root: Path, name: str, column: str) -> bool:
    """Returns whether a table has or maps a column; refuses a workbook that is called a CSV."""
    paths = [root / table.path] if table.path else []
    for path in paths:
        is_text = table.format is not TableFormat.xlsx and path.suffix.lower() in (".csv", ".tsv", ".txt")
        if is_text and path.is_file():
            with path.open("rb") as file:
                begins_as_zip = file.read(len(_ZIP)) == _ZIP
            if begins_as_zip:
                raise DataError(
                    f"{path} is called {path.suffix} and is a workbook or an archive by its first bytes; set "
                    f"customers.{name}.format=xlsx, or save it as CSV"
                )
    if column in table.columns:
        return True
    sources = open_sources(table, root, name)
    (source, *_) = sources
    if len(source.columns) == 1 and column == USER_ID:
        (only,) = source.columns
        for mark in (";", "\t", "|", ","):
            if mark in only:
                raise DataError(
                    f"{source.path} has the one column {only[:80]!r}; its separator seems to be {mark!r}: "
                    f'set customers.{name}.separator="{mark}"'
                )
    return column in source.columns


def quality_notes(quality: TableQuality) -> list[str]:
    """Returns the notes of the readers on a table."""
    notes = [*quality.notes, *(f"rejected: {reject}" for reject in quality.rejects)]
    return notes + [f"{n:,} rows excluded as {reason}" for reason, n in quality.excluded.items()]


def declared_yaml(customers: Customers) -> str:
    """Returns the kinds of all columns as the YAML that would correct them."""
    lines: list[str] = [
        "# What each column was taken for; copy lines into your config to correct them.",
        "columns:",
    ]
    kinds: Mapping[str, str] = {name: kind.value for name, kind in customers.kinds.items()}
    for name in customers.rows.columns:
        if name == USER_ID:
            continue
        quoted = name if name.isidentifier() else f'"{name}"'
        why = customers.left_out.get(name)
        lines.append(f"  {quoted}: {kinds[name]}" if why is None else f"  {quoted}: ignore # {why}")
    return "\n".join(lines) + "\n"
