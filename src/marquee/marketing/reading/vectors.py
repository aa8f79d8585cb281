"""Vectors of customers, such as a user tower makes, out of a file."""

from pathlib import Path

import numpy as np
import polars as pl

from marquee.bundle.traits.pseudonyms import pseudonym
from marquee.core.arrays import Float64Array
from marquee.errors import DataError, MissingColumnError


def read_vectors(
    rows: pl.DataFrame, path: Path, key: str, secret: bytes = b""
) -> tuple[pl.DataFrame, Float64Array]:
    """Returns the rows that have a vector, and their vectors at length 1.

    How long a vector is says how active a customer is, and not what they like.

    Args:
        rows: Customers.
        path: Parquet file with `user_id` and `vector`.
        key: Where it stands in the config, for messages.
        secret: That the ids of the rows are hashed with; empty for plain ids.

    Raises:
        DataError: If it cannot be read, or holds no vector of these customers.
    """
    try:
        table = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{key}: {path} cannot be read: {error}; write it as Parquet") from error
    if not {"user_id", "vector"} <= set(table.columns):
        raise MissingColumnError(
            f"{key}: {path} needs user_id and vector, it has {table.columns}; write one list of numbers per "
            "customer"
        )
    if secret:
        # The file is of whoever trained the vectors, and has plain ids.
        hashed = [pseudonym(str(one), secret) for one in table["user_id"].to_list()]
        table = table.with_columns(pl.Series("user_id", hashed, pl.String))
    own = rows.join(table.select("user_id", "vector"), on="user_id", how="inner", maintain_order="left")
    if own.is_empty():
        raise DataError(
            f"{key}: {path} holds {table.height} vectors, none of these customers; compare the ids"
        )
    vectors = np.array(own["vector"].to_list(), dtype=np.float64)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return own.drop("vector"), np.asarray(vectors / np.where(length > 0, length, 1.0), dtype=np.float64)
