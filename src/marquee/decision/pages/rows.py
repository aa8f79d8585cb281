"""A page of several rows for one user, as a home page has them: what each row is to hold."""

from dataclasses import dataclass, replace
from enum import StrEnum

from marquee.decision.requests import Answer, Decided, Request, within_tier
from marquee.errors import DataError
from marquee.store.people.consent import Tier


class RowKind(StrEnum):
    """The ways in which the items of a row are chosen."""

    for_you = "for_you"  # the user
    similar = "similar"  # likeness to one item, the latest of the history if none is named
    popular = "popular"  # how many have had them, in the context of the page
    new = "new"  # the moment from which they may be shown, the latest first
    continued = "continued"  # what follows a list, as a playlist is continued


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of a page.

    Attributes:
        kind: What its items are chosen by.
        request: How many of which items; its context decides what is popular. The user and the history are
            those of the page.
        item_id: The item that the others of a `similar` row are like; None for the latest that the user had.
        items: The list that a `continued` row goes on with, oldest first; none of them comes back.

    Raises:
        DataError: If the row says what its kind does not read, or lacks what it does.
    """

    kind: RowKind
    request: Request
    item_id: str | None = None
    items: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.item_id is not None and self.kind is not RowKind.similar:
            raise DataError(
                f"item_id belongs to a row of kind similar, got {self.item_id!r} in one of kind {self.kind}; "
                "leave it out"
            )
        if self.request.query is not None and self.kind is not RowKind.for_you:
            raise DataError(
                f"query belongs to a row of kind for_you, got one in a row of kind {self.kind}; leave it out"
            )
        if bool(self.items) != (self.kind is RowKind.continued):
            raise DataError(
                f"items belong to a row of kind continued and to no other, got {len(self.items)} in one of "
                f"kind {self.kind}; name the list that is to go on, or leave it out"
            )

    def within(self, tier: Tier) -> "Row":
        """Returns the row without what a tier forbids."""
        # The list stays: none of it comes back, although nothing follows from it any more.
        return self if tier is Tier.personal else replace(self, request=within_tier(self.request, tier))


@dataclass(frozen=True, slots=True)
class AnsweredRow:
    """The answer for one row.

    Attributes:
        decided: The items, none of which stands in a row above, with what a record of them holds beside.
        like_item: The item that they are like, None for rows of other kinds.
        like_title: Its attribute `title`, None if it has none.
    """

    decided: Decided
    like_item: str | None = None
    like_title: str | None = None

    @property
    def answer(self) -> Answer:
        """The items, and what they rest on."""
        return self.decided.answer
