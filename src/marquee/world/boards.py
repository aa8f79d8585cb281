"""A world with a provable best answer: users and items in two colours, like the fields of a chequer board.

Every user likes exactly the items of their colour and has seen all of them but one. Among the unseen
items only the hidden one has the user's colour: whoever has learned the colours ranks it first.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from marquee.errors import ConfigError

COLOURS = ("black", "white")


@dataclass(frozen=True)
class ChequerBoard:
    """Users and items in two colours.

    Attributes:
        events: One click of every user on every item of their colour, in random order, the hidden item
            last: leaving out each user's last event leaves out what is to be found.
        items: `item_id` and `colour`.
        users: `user_id` and `colour`.
        hidden: The item_id to be found, by user_id.
    """

    events: pl.DataFrame
    items: pl.DataFrame
    users: pl.DataFrame
    hidden: dict[str, str]


def chequer_board(n_users: int = 50, n_items: int = 40, seed: int = 0) -> ChequerBoard:
    """Returns a board; within a colour every item is hidden from about equally many users.

    Args:
        n_users: At least 6: an item that is hidden from everybody could not be learned.
        n_items: At least 6.
        seed: Decides the order in which each user meets the items.

    Raises:
        ConfigError: If there are too few users or items.
    """
    if min(n_users, n_items) < 6:
        raise ConfigError(
            f"a chequer board needs at least 6 users and 6 items, got {n_users} and {n_items}; enlarge it"
        )
    rng = np.random.default_rng(seed)
    rows = []
    hidden = {}
    for user in range(n_users):
        # Parity is the colour of users and items alike (see `_coloured`).
        own_items = np.arange(user % 2, n_items, 2)
        # In turn among the users of a colour: no item is hidden from all of them.
        hidden_item = own_items[user // 2 % len(own_items)]
        # The hidden item comes last, so that a split by place takes it for the target.
        order = [*rng.permutation(own_items[own_items != hidden_item]), hidden_item]
        hidden[_id("u", user)] = _id("i", hidden_item)
        rows += [(_id("u", user), _id("i", item), time) for time, item in enumerate(order, start=1)]
    events = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    return ChequerBoard(
        events=events.sort("timestamp", maintain_order=True).select(
            pl.format("e{}", pl.int_range(pl.len())).alias("event_id"), pl.all(), kind=pl.lit("click")
        ),
        items=_coloured("item_id", "i", n_items),
        users=_coloured("user_id", "u", n_users),
        hidden=hidden,
    )


def _coloured(column: str, prefix: str, n: int) -> pl.DataFrame:
    """Returns ids with alternating colours."""
    return pl.DataFrame(
        {column: [_id(prefix, row) for row in range(n)], "colour": [COLOURS[row % 2] for row in range(n)]}
    )


def _id(prefix: str, row: int) -> str:
    """Returns the id of a row."""
    return f"{prefix}{row:04d}"
