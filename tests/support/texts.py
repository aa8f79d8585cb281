"""A tiny bundle whose items have titles, so that they can be asked for by words."""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import polars as pl

from marquee.bundle.contents import BundleContents
from marquee.core.catalog import Catalog
from marquee.features import FeatureConfig, FeatureEncoder, FeatureType
from marquee.features.text import text_rows
from tests.support.bundles import DIM, item_tower, make_tiny
from training.exporting.text_search import fit_text_search

COLOURS = ("red", "green", "blue", "yellow")
THINGS = ("lamp", "kettle", "pencil", "notebook", "teapot", "curtain")
TITLE = FeatureConfig(type=FeatureType.text, max_tokens=24, buckets=500)


def title_of(number: int) -> str | None:
    """Returns the title of an item by its number from 1; every eleventh has none."""
    return None if number % 11 == 0 else f"{COLOURS[number % 4]} {THINGS[number % 6]} no {number}"


def titled_contents(
    titles: Mapping[int, str | None] | None = None, *, has_item_bias: bool = False, n_items: int = 24
) -> BundleContents:
    """Returns the contents of a tiny bundle whose item encoder reads genre and title.

    Args:
        titles: By number of the item; those of `title_of` for the others.
        has_item_bias: As in `make_tiny`.
        n_items: Of the catalog.
    """
    tiny = make_tiny(n_items=n_items, has_item_bias=has_item_bias).contents
    said = {number: title_of(number) for number in range(1, n_items + 1)} | dict(titles or {})
    columns: dict[str, list[object]] = {
        "genre": tiny.catalog.attributes["genre"].to_list(),
        "title": [said[number] for number in range(1, n_items + 1)],
    }
    encoder = FeatureEncoder.fit({"genre": FeatureConfig(), "title": TITLE}, columns)
    features = encoder.encode(columns, n_items).with_padding_row()
    table = np.random.default_rng(1).normal(size=(encoder.n_token_rows, DIM)).astype(np.float32)
    table[0] = 0.0
    catalog = tiny.catalog
    return replace(
        tiny,
        item_features=encoder,
        item_tower=item_tower(table),
        catalog=Catalog(
            item_ids=catalog.item_ids,
            is_ad=catalog.is_ad,
            available_from=catalog.available_from,
            available_until=catalog.available_until,
            attributes=catalog.attributes.with_columns(title=pl.Series(columns["title"], dtype=pl.String)),
        ),
        texts=fit_text_search(encoder, features.tokens, tiny.index.item_vectors, has_item_bias=has_item_bias),
    )


def pieces_of(text: str | None) -> set[int]:
    """Returns the hashed words and n-grams of a title."""
    return set(text_rows(text or "", (3,), TITLE.buckets, TITLE.max_tokens))


def cosine(one: set[int], other: set[int], weight: Mapping[int, float]) -> float:
    """Returns the cosine of two titles by their weighted pieces, 0 where one says nothing."""

    def squares(pieces: set[int]) -> float:
        return sum(weight.get(piece, 0.0) ** 2 for piece in pieces)

    length = math.sqrt(squares(one) * squares(other))
    return squares(one & other) / length if length else 0.0


def unknown_word() -> str:
    """Returns a word that shares no piece with any title, whatever the hash."""
    known = set().union(*(pieces_of(title_of(number)) for number in range(1, 25)))
    return next(word for word in ("zzyzx", "qqq", "wvwv", "xjx", "vv") if not pieces_of(word) & known)
