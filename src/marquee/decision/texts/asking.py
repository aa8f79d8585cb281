"""Words of a request into what is searched with: a query embedding, and the items that share words with it.

```
score   LIKENESS_WEIGHT · (text query + history_weight · user's query) · item  +  cosine of both texts
        each query scaled, so that its scores have a standard deviation of 1 over the items
```

The cosine finds what is named, the text's query what is like it, the user's what of that the user likes.
"""

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from marquee.bundle.texts.search import Pieces, TextSearch
from marquee.core.arrays import FloatArray, IndexArray
from marquee.decision.item_pool import ItemPool
from marquee.decision.new_items import encode_texts
from marquee.store.live_items import LiveItem

LIKENESS_WEIGHT = 0.06
"""Of a standard deviation of the embedding's scores beside a cosine of 1: what is named stands first.
Chosen among 0.01 … 0.2 by titles, parts of titles and topics (see `benchmarks.query`)."""


@dataclass(frozen=True, slots=True, eq=False)
class AskedText:
    """The words of one request.

    Attributes:
        embedding: What the index is searched with, (dim,) float32.
        items: item_index of those whose text shares a piece with the words, ascending, (n,) int64.
        likeness: Cosine of both texts, (n,) float32, above 0.
    """

    embedding: FloatArray
    items: IndexArray
    likeness: FloatArray

    def likeness_of(self, items: IndexArray) -> FloatArray:
        """Returns the cosine of some items, (n,) float32; 0 for those that share nothing."""
        if not len(self.items):
            return np.zeros(len(items), dtype=np.float32)
        places = np.minimum(np.searchsorted(self.items, items), len(self.items) - 1)
        return np.where(self.items[places] == items, self.likeness[places], np.float32(0.0))


class TextAsker:
    """Reads the words of requests with the texts of a bundle and of live items. Several threads may ask.

    Args:
        search: The texts of the bundle.
        item_pool: The bundle, and the live items.
    """

    def __init__(self, search: TextSearch, item_pool: ItemPool) -> None:
        self._search = search
        self._item_pool = item_pool
        # Written by whichever thread comes first; two that come together write the same.
        self._tokens: Mapping[str, tuple[LiveItem, npt.NDArray[np.int32]]] = {}
        self._live: npt.NDArray[np.int32] | None = None

    def over(self, item_pool: ItemPool) -> "TextAsker":
        """Returns the same for the same bundle with other live items; texts that stay are not read again."""
        other = copy(self)
        other._item_pool, other._live = item_pool, None
        return other

    def ask(self, words: str, user: FloatArray | None, history_weight: float) -> AskedText | None:
        """Returns the words as they are searched with, None if no item's text has any piece of the words.

        Args:
            words: Of the request.
            user: The user's query embedding, (dim,); None where there is nothing to go by.
            history_weight: Weight of the user's query beside the text's.
        """
        pieces = self._search.pieces(words)
        if pieces is None:
            return None
        embedding = self._search.direction(pieces)
        if user is not None and history_weight:
            embedding = embedding + np.float32(history_weight) * self._search.scaled(user)
        items, likeness = self._search.likeness(pieces)
        if self._item_pool.n_added:
            live, likeness_of_live = self._of_live(pieces)
            items, likeness = np.concatenate((items, live)), np.concatenate((likeness, likeness_of_live))
        return AskedText(np.float32(LIKENESS_WEIGHT) * embedding, items, likeness)

    def _of_live(self, pieces: Pieces) -> tuple[IndexArray, FloatArray]:
        """Returns the live items that share a piece, ascending, with the cosine of each."""
        if self._live is None:
            self._live = self._read_live()
        likeness = self._search.likeness_of(pieces, self._live)
        found = np.flatnonzero(likeness)
        return found + self._item_pool.table.n_own + 1, likeness[found]

    def _read_live(self) -> npt.NDArray[np.int32]:
        """Returns the texts of the live items in the order of their item_index, (n, n_token_columns)."""
        added = self._item_pool.table.added
        assert added is not None, "texts of live items are asked for where there are some"
        items = [self._item_pool.live_item(item_id) for item_id in added.catalog.item_ids.ids]
        known = self._tokens
        new = [one for one in items if one.item_id not in known or known[one.item_id][0] is not one]
        fresh = dict(
            zip(
                [one.item_id for one in new],
                encode_texts(self._item_pool.bundle, self._search.encoder, new),
                strict=True,
            )
        )
        self._tokens = {
            one.item_id: (one, fresh[one.item_id]) if one.item_id in fresh else known[one.item_id]
            for one in items
        }
        return np.stack([self._tokens[one.item_id][1] for one in items])
