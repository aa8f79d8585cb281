"""From files to arrays: read, validate, split, encode, with every row accounted for."""

from typing import TYPE_CHECKING

from marquee.core.faces import lazy

if TYPE_CHECKING:
    from marquee.data.config import DataConfig
    from marquee.data.dataset import Dataset, JudgedPart, QueryArrays
    from marquee.data.reading.tables import Tables, read_tables
    from marquee.data.split_config import SplitConfig, SplitMethod
    from marquee.data.splits import Split, split_events, validate_no_leakage
    from marquee.data.table_config import TableConfig

__all__ = [
    "DataConfig",
    "Dataset",
    "JudgedPart",
    "QueryArrays",
    "Split",
    "SplitConfig",
    "SplitMethod",
    "TableConfig",
    "Tables",
    "read_tables",
    "split_events",
    "validate_no_leakage",
]

__getattr__ = lazy(
    __name__,
    {
        "DataConfig": "config",
        "Dataset": "dataset",
        "JudgedPart": "dataset",
        "QueryArrays": "dataset",
        "Split": "splits",
        "SplitConfig": "split_config",
        "SplitMethod": "split_config",
        "TableConfig": "table_config",
        "Tables": "reading.tables",
        "read_tables": "reading.tables",
        "split_events": "splits",
        "validate_no_leakage": "splits",
    },
)
