"""The places of an answer that ads may take, and which ads may stand in one answer.

```
first = 1, every = 4, k = 10        c A c c c A c c c A      c content, A a slot
```
"""

from dataclasses import dataclass

from marquee.ads.auction import PriceRule
from marquee.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotConfig:
    """How a surface sells places.

    Attributes:
        first: Place of the first slot, 0 for the top.
        every: From one slot to the next; 1 for one after another.
        max_load: Largest share of an answer that may be ads, in (0, 1].
        max_ads: Most ads of one answer, None for no bound.
        floor: What a thousand impressions must bring, millionths.
        rule: What a winner pays.
        apart: Attributes of items by which no two ads of an answer may be equal, besides the advertiser.
        reserve: Whether an ad must be worth the content whose place it takes.
        n_candidates: How many ads are found by relevance before they bid.
        click_window_s: How long a click is paid for after the answer, seconds.
        conversion_window_s: The same of a conversion, seconds.

    Raises:
        ConfigError: If a number is out of range.
    """

    first: int = 0
    every: int = 4
    max_load: float = 0.5
    max_ads: int | None = None
    floor: int = 0
    rule: PriceRule = PriceRule.second
    apart: tuple[str, ...] = ()
    reserve: bool = True
    n_candidates: int = 200
    click_window_s: int = 86_400
    conversion_window_s: int = 7 * 86_400

    def __post_init__(self) -> None:
        bounds = {"first": 0, "every": 1, "floor": 0, "n_candidates": 1}
        for name, least in bounds.items():
            if getattr(self, name) < least:
                raise ConfigError(f"slots.{name} must be {least} or more, got {getattr(self, name)}")
        if not 0.0 < self.max_load <= 1.0:
            raise ConfigError(f"slots.max_load must be above 0 and at most 1, got {self.max_load}")
        if self.max_ads is not None and self.max_ads < 1:
            raise ConfigError(f"slots.max_ads must be 1 or more, got {self.max_ads}")
        for name in ("click_window_s", "conversion_window_s"):
            if getattr(self, name) < 1:
                raise ConfigError(f"slots.{name} must be 1 or more seconds, got {getattr(self, name)}")

    def places(self, k: int) -> tuple[int, ...]:
        """Returns the slots of an answer of k items, ascending.

        Example:
            >>> SlotConfig(first=1, every=4).places(10)
            (1, 5, 9)
            >>> SlotConfig(every=1, max_load=0.3).places(10)
            (0, 1, 2)
        """
        # Rounded down: an answer of one item would otherwise be an ad alone.
        most = int(k * self.max_load)
        most = most if self.max_ads is None else min(most, self.max_ads)
        return tuple(range(self.first, k, self.every))[:most]
