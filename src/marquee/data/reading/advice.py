"""Advice for rejected rows: one sentence for each reason, and for the type of the column."""

from marquee.core.catalog import ItemKind
from marquee.core.event_kinds import EventKind
from marquee.core.reasons import Reason
from marquee.core.schema import ColumnType, TableSchema

_OF_TYPE = {
    ColumnType.timestamp: "a time that is neither ISO 8601 nor a number needs timestamp_format (such as "
    "%d/%m/%Y %H:%M), one in milliseconds timestamp_unit=ms",
    ColumnType.number: "write a number, or an expression that makes one, such as "
    "TRY_CAST(REPLACE(x, ',', '') AS FLOAT)",
    ColumnType.integer: "write a whole number, or an expression that makes one, such as "
    "TRY_CAST(x AS BIGINT)",
    ColumnType.id: "an id is a text or a whole number; a list of ids in events needs lists",
}
_OF_SOURCE = "the value is not of the type that types declares; correct types, or the file"
_OF_REASON = {
    Reason.unreadable_row: "see whether format, separator, quote and skip_rows are those of the file; "
    "quote='' takes every quote for a character",
    Reason.null_id: "declare rows without id under exclude, or map the column that holds it",
    Reason.null_timestamp: "declare rows without time under exclude, or map the column that holds it",
    Reason.timestamp_out_of_range: "see data.timestamp_min and data.timestamp_max (the year 2200 if it is "
    "not given), and whether all rows are written in timestamp_unit",
    Reason.non_finite_value: "an expression such as NULLIF or CASE makes such a number null",
    Reason.impossible_value: "a rating needs a value, and no conversion is worth less than nothing: returns "
    "belong under exclude",
    Reason.propensity_out_of_range: "a propensity is the probability of what was shown, above 0 and up to 1",
    Reason.impossible_availability: "available_until must be later than available_from, and empty for no end",
    Reason.unknown_item: "data.unknown_items=keep keeps such events, or complete the items table",
    Reason.text_too_long: "shorten the text in the expression, as LEFT(x, 100) does",
    Reason.duplicate_id: "unique=true keeps the first row of an item or user; for events, event_id: 'NULL' "
    "under columns makes ids of row numbers",
}


def advice_for(reason: Reason, column: str, schema: TableSchema) -> str:
    """Returns advice for rows rejected for a reason in a column of the table, or of the file."""
    if reason is Reason.unknown_kind:
        kinds = list(EventKind) if column == "kind" and schema.name == "events" else list(ItemKind)
        # An exposure comes first among kinds, and is what an app's log rarely means.
        first = kinds[0].value if schema.name != "events" else EventKind.view.value
        return (
            f"the kinds are {', '.join(kind.value for kind in kinds)}; map yours in columns.kind, as "
            f"CASE x WHEN 'yours' THEN '{first}' ELSE x END does, or declare other rows under exclude"
        )
    if reason is Reason.wrong_type:
        found = schema.by_name.get(column)
        return _OF_SOURCE if found is None else _OF_TYPE[found.type]
    # The event log has reasons of its own, which no table gives.
    return _OF_REASON.get(reason, "see the reasons in docs/data.md")
