"""Questions to the service, chosen from the bundle's users and items, and the check of its answers."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from marquee.bundle.bundle import Bundle
from marquee.client import RecommendAnswer, RecommendRequest
from marquee.core.catalog import Catalog, ItemKind

# In the order in which people would rather read them.
_TITLE_COLUMNS = ("title", "name", "headline", "description", "text")
_HISTORY_SHOWN = 3
_MIN_HISTORY = 3


@dataclass(frozen=True, kw_only=True)
class Question:
    """One request, in words and as the service takes it.

    Attributes:
        who: Who asks, for the reader.
        kind: Content or ads.
        k: How many items are wanted.
        user_id: None for an anonymous user.
        history: Items that the request itself tells of, oldest first.
        recent: What the user did last, oldest first, for the reader.
        seen: Items that must not come back.
    """

    who: str
    kind: ItemKind
    k: int
    user_id: str | None = None
    history: tuple[str, ...] = ()
    recent: tuple[str, ...] = ()
    seen: frozenset[str] = frozenset()

    def request(self) -> RecommendRequest:
        """Returns the question as a request to the service."""
        return RecommendRequest(
            user_id=self.user_id, history=self.history or None, kind=self.kind.value, k=self.k
        )


def choose_questions(bundle: Bundle, k: int) -> list[Question]:
    """Returns one question for each kind of item in the catalog and each of three kinds of asker."""
    known, other = _two_users(np.diff(bundle.history_offsets))
    known_items = _item_ids(bundle, known)
    anonymous = tuple(_item_ids(bundle, other)[-_HISTORY_SHOWN:])
    askers = [
        Question(
            who="a known user",
            kind=ItemKind.content,
            k=k,
            user_id=bundle.user_ids.decode([known])[0],
            recent=tuple(known_items[-_HISTORY_SHOWN:]),
            seen=frozenset(known_items),
        ),
        Question(who="an unknown user", kind=ItemKind.content, k=k, user_id=_unknown_user(bundle)),
        Question(
            who="an anonymous history",
            kind=ItemKind.content,
            k=k,
            history=anonymous,
            recent=anonymous,
            seen=frozenset(anonymous),
        ),
    ]
    return [replace(asker, kind=kind) for kind in item_kinds(bundle.catalog) for asker in askers]


def followers_question(bundle: Bundle, user_id: str, clicked: tuple[str, ...], k: int) -> Question:
    """Returns the question of somebody who has clicked some items lately, oldest first."""
    return Question(
        who="somebody of the crowd",
        kind=item_kinds(bundle.catalog)[0],
        k=k,
        user_id=user_id,
        recent=clicked[-_HISTORY_SHOWN:],
        seen=frozenset(clicked),
    )


def item_kinds(catalog: Catalog) -> list[ItemKind]:
    """Returns the kinds of items that the catalog holds, content first."""
    # Row 0 is padding and no item.
    holds = {ItemKind.content: not catalog.is_ad[1:].all(), ItemKind.ad: bool(catalog.is_ad[1:].any())}
    return [kind for kind, held in holds.items() if held]


def titles(catalog: Catalog) -> dict[str, str]:
    """Returns the title of each item by item_id; empty if the catalog has no column of titles."""
    attributes = catalog.attributes
    column = next(
        (
            name
            for name in _TITLE_COLUMNS
            # A column of that name may hold lists, which name nothing.
            if name in attributes.columns and attributes[name].dtype == pl.String
        ),
        None,
    )
    if column is None:
        return {}
    return {
        item_id: text for item_id, text in zip(catalog.item_ids.ids, attributes[column], strict=True) if text
    }


def problems(question: Question, answer: RecommendAnswer) -> Iterator[str]:
    """Yields what is wrong with an answer; nothing if it makes sense."""
    item_ids = [item.item_id for item in answer.items]
    scores = [item.score for item in answer.items]
    if not item_ids:
        yield f"no {question.kind} came back ({answer.short_reason or 'and no reason'})"
    if len(item_ids) > question.k:
        yield f"{len(item_ids)} items came back, {question.k} were wanted"
    # Few items or a filter may leave fewer, but then the answer must say so.
    if len(item_ids) < question.k and not answer.short_reason:
        yield f"{len(item_ids)} of {question.k} items came back without a reason"
    if len(set(item_ids)) < len(item_ids):
        yield f"an item came back twice: {item_ids}"
    if scores != sorted(scores, reverse=True):
        yield f"the scores do not descend: {scores}"
    others = sorted({item.kind for item in answer.items} - {question.kind.value})
    if others:
        yield f"{question.kind} was wanted, {', '.join(others)} came back"
    again = sorted(question.seen.intersection(item_ids))
    if again:
        yield f"items came back that the user has seen: {again}"


def _two_users(lengths: npt.NDArray[np.int64]) -> tuple[int, int]:
    """Returns the user_index of a user with a middling and of one with a longer history.

    Args:
        lengths: Length of each user's history, (n_users + 1,); row 0 is nobody.
    """
    users = np.arange(1, len(lengths))
    # Where all histories are short, the least length gives way: somebody must be asked about.
    candidates = users[lengths[1:] >= min(_MIN_HISTORY, lengths[1:].max())]
    # Stable: the same bundle is asked about the same users in every run.
    ascending = candidates[np.argsort(lengths[candidates], kind="stable")]
    # Median and third quartile: neither a newcomer nor the busiest user, whose answers are not typical.
    return int(ascending[len(ascending) // 2]), int(ascending[3 * len(ascending) // 4])


def _item_ids(bundle: Bundle, user_index: int) -> list[str]:
    """Returns the ids in a user's history in the bundle, oldest first."""
    start, stop = bundle.history_offsets[user_index : user_index + 2]
    item_index = bundle.history_items[start:stop].astype(np.int64)
    # Index 0 stands for items outside the catalog, which have no id.
    return bundle.catalog.item_ids.decode(item_index[item_index > 0])


def _unknown_user(bundle: Bundle) -> str:
    """Returns a user_id that the bundle does not know."""
    name = "somebody-new"
    # Ids of real data may be any text, this one included.
    while name in bundle.user_ids:
        name += "-er"
    return name
