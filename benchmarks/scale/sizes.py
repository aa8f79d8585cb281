"""How large each row is: what two cores do in minutes, or, by `--large`, in hours."""

from dataclasses import dataclass


@dataclass
class Sizes:
    """Sizes of the rows.

    Attributes:
        is_large: Whether `--large` was given; a row with sizes of its own asks for this.
        prepared_events: Events that are prepared; a tenth as many users, a hundredth as many items.
        kills: Of a driver or a worker, one after the other, for each kind of cluster.
        index_items: Items of an index that is built in shards.
        scored_users: Users of a bundle that are all scored.
        scored_items: Items that they are scored against.
        bundle_users: Users of a bundle that a worker loads.
        bundle_items: Items of that bundle.
    """

    is_large: bool = False
    prepared_events: int = 100_000_000
    kills: int = 10
    index_items: int = 200_000
    scored_users: int = 20_000
    scored_items: int = 100_000
    bundle_users: int = 10_000_000
    bundle_items: int = 1_000_000

    def enlarge(self) -> None:
        """Sets the larger ones."""
        self.is_large = True
        self.prepared_events = 1_000_000_000
        self.kills = 50
        self.index_items = 4_000_000
        self.scored_users = 1_000_000


SIZES = Sizes()
