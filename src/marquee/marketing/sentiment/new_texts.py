"""Scores texts that came after a run, by the sentiment that it wrote."""

from pathlib import Path

import polars as pl

from marquee.bundle.traits.forms.text import decode_sentiment
from marquee.core.schema import Column
from marquee.data.declared_table import read_declared_table
from marquee.data.reading.quality import TableQuality
from marquee.data.table_config import TableConfig
from marquee.errors import BundleError
from marquee.features.sentiment.model import SentimentModel
from marquee.marketing.reading.customers import USER_ID

TEXT = "text"


def read_sentiment(path: Path) -> SentimentModel:
    """Returns the sentiment of a file.

    Raises:
        BundleVersionError: If it was written in a format that this release does not read.
        BundleError: If it is no sentiment.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(
            f"{path} is no sentiment: {error}; name the file that a run of customers wrote under sentiments/"
        ) from error
    return decode_sentiment(content, path)


def score_new_texts(
    name: str, model: SentimentModel, table: TableConfig, root: Path
) -> tuple[pl.DataFrame, TableQuality]:
    """Returns `user_id` and the probability of praise of each text, not the texts, and what was rejected.

    Args:
        name: Of the trait: the name of the column.
        model: As a run wrote it.
        table: Where the texts are, with `user_id` and `text` among its columns.
        root: Where its path starts.

    Raises:
        MissingColumnError: If a column is missing.
        DataError: If the table cannot be read.
    """
    columns = [Column(USER_ID, required=True), Column(TEXT, required=True)]
    rows, quality = read_declared_table(table, root, columns, {}, "score", name="path")
    return rows.select(USER_ID, pl.Series(name, model.score(rows[TEXT].to_list()))), quality
