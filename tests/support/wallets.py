"""A wallet that asks the ledger whenever it lacks money, as the thread beside the answers does soon."""

from marquee.ads.wallet import Moment, Wallet
from marquee.store.ledger.rows import Limits


class EagerWallet(Wallet):
    """A `Wallet` whose wishes are fulfilled at once."""

    def reserve(self, limits: Limits, amount: int, now: Moment) -> int | None:
        """Takes an amount; see `Wallet`."""
        number = super().reserve(limits, amount, now)
        self.refill(now)
        return super().reserve(limits, amount, now) if number is None else number
