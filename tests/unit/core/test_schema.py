import polars as pl
import pytest

from marquee.core.schema import EVENTS, ITEMS, USERS, ColumnType, TableSchema


@pytest.mark.parametrize(
    ("schema", "names"),
    [
        (
            EVENTS,
            "event_id user_id item_id timestamp kind value request_id surface position policy propensity "
            "campaign_id revenue",
        ),
        (ITEMS, "item_id kind available_from available_until campaign_id advertiser_id bid"),
        (USERS, "user_id"),
    ],
    ids=["events", "items", "users"],
)
def test_canonical_columns_have_their_names(schema: TableSchema, names: str) -> None:
    assert list(schema.by_name) == names.split()


@pytest.mark.parametrize("schema", [EVENTS, ITEMS, USERS], ids=lambda schema: str(schema.name))
def test_key_is_one_of_the_columns(schema: TableSchema) -> None:
    assert schema.by_name[schema.key].type is ColumnType.id


def test_timestamps_are_whole_numbers() -> None:
    assert ColumnType.timestamp.dtype == pl.Int64()
