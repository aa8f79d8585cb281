"""The columns of the three tables, under the names that all of Marquee uses, and what each holds.

A user's own columns are mapped onto these by `mapping`; what a row may not hold is decided in `validation`.
"""

from dataclasses import dataclass
from enum import StrEnum

import polars as pl

# Columns that code names; one that a user declares has no name here.
USER_ID = "user_id"
ITEM_ID = "item_id"
TIMESTAMP = "timestamp"
KIND = "kind"
VALUE = "value"
SURFACE = "surface"
POSITION = "position"
AVAILABLE_FROM = "available_from"
AVAILABLE_UNTIL = "available_until"


class TimeMeaning(StrEnum):
    """Meaning of the timestamps of a data set.

    `absolute`: seconds since 1970, UTC, comparable between users. `order`: only the order within one user.
    `none`: there is no time; the order of the file stands in for it.
    """

    absolute = "absolute"
    order = "order"
    none = "none"


class ColumnType(StrEnum):
    """Type of a canonical column."""

    id = "id"
    timestamp = "timestamp"
    integer = "integer"
    number = "number"

    @property
    def dtype(self) -> pl.DataType:
        """The type of the column in a validated table."""
        return _DTYPES[self]


_DTYPES: dict[ColumnType, pl.DataType] = {
    # Texts, as the id 17 of one file must equal "17" of another.
    ColumnType.id: pl.String(),
    ColumnType.timestamp: pl.Int64(),
    ColumnType.integer: pl.Int64(),
    ColumnType.number: pl.Float64(),
}


@dataclass(frozen=True)
class Column:
    """One canonical column.

    Attributes:
        name: Its name.
        type: What it holds.
        required: The source must have it; a row without it is rejected.
        default: Text that stands where the source has no such column; None for null.
        fills_null: The default stands also where a row of the source has no value.
        always: It stands in the validated table even where the source has none.
    """

    name: str
    type: ColumnType = ColumnType.id
    required: bool = False
    default: str | None = None
    fills_null: bool = False
    always: bool = False


@dataclass(frozen=True)
class TableSchema:
    """One of the three tables, or one that a caller declares for itself.

    Attributes:
        name: `events`, `items` or `users`: also its key in the config.
        key: The column that no two rows may share.
        columns: The canonical columns; others are attributes, or context.
        config_key: Where the declaration of the table stands in the config, for messages.
    """

    name: str
    key: str
    columns: tuple[Column, ...]
    config_key: str = "data"

    @property
    def by_name(self) -> dict[str, Column]:
        """The canonical columns by their names, in order."""
        return {column.name: column for column in self.columns}


EVENTS = TableSchema(
    "events",
    "event_id",
    (
        # Not required: rows without ids are numbered (see `reading.mapping`).
        Column("event_id", always=True),
        Column(USER_ID, required=True, always=True),
        Column(ITEM_ID, required=True, always=True),
        Column(TIMESTAMP, ColumnType.timestamp, required=True, always=True),
        # Only a file without kinds is taken for views: a null among kinds is a lost kind, and rejected.
        Column(KIND, default="view", always=True),
        Column(VALUE, ColumnType.number, always=True),
        # From here on not `always`: a log without decisions gets no columns of nulls.
        Column("request_id"),
        Column(SURFACE),
        Column(POSITION, ColumnType.integer),
        Column("policy"),
        Column("propensity", ColumnType.number),
        Column("campaign_id"),
        Column("revenue", ColumnType.number),
    ),
)

ITEMS = TableSchema(
    "items",
    ITEM_ID,
    (
        Column(ITEM_ID, required=True, always=True),
        # Nulls as well: tables of items often mark only the ads.
        Column(KIND, default="content", fills_null=True, always=True),
        Column(AVAILABLE_FROM, ColumnType.timestamp, always=True),
        Column(AVAILABLE_UNTIL, ColumnType.timestamp, always=True),
        Column("campaign_id", always=True),
        Column("advertiser_id", always=True),
        Column("bid", ColumnType.number, always=True),
    ),
)

USERS = TableSchema("users", USER_ID, (Column(USER_ID, required=True, always=True),))
