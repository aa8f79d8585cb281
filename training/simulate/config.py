"""The keys of the command `simulate`."""

from dataclasses import dataclass, field

from marquee.data.config import DataConfig
from marquee.errors import ConfigError


@dataclass(kw_only=True)
class SimulateConfig:
    """Which market to simulate, or which flights on it.

    Attributes:
        data: The market; without flights its tables go to `data.root`.
        flights: Files of campaigns, JSON or YAML, as `POST /v1/campaigns` takes them; empty for tables alone.
        stream: In place of the market: auctions one per line, `clicked price probability`, also packed with
            gzip.
        price_unit: With `stream`: millionths of the currency in one unit of its prices of a thousand
            impressions.
        log: In place of the market: the event log of a service, whose auctions are held again.
        closed: With `log`: folder of its closed days; empty for `closed` in the folder of the log.
        budget: One budget for all flights, divided by equal marginal value, in units of the currency; null
            leaves to each its own.
        seed: Of rivals and of what only chance can tell.
        out: Folder of the report.
    """

    data: DataConfig
    flights: list[str] = field(default_factory=list)
    stream: str = ""
    price_unit: int = 10_000
    log: str = ""
    closed: str = ""
    budget: float | None = None
    seed: int = 0
    out: str = "evidence/flights"

    def __post_init__(self) -> None:
        if self.stream and self.log:
            raise ConfigError(f"stream or log must be given, got {self.stream!r} and {self.log!r}; keep one")
        if not self.flights and (self.stream or self.log or self.budget is not None):
            raise ConfigError(
                "flights must name files of campaigns where a stream, a log or a budget is given, "
                "got none; add "
                "flights=[campaign.json]"
            )
        if self.price_unit < 1:
            raise ConfigError(f"price_unit must be 1 millionth or more, got {self.price_unit}")
        if self.budget is not None and not 0 < self.budget < float("inf"):
            raise ConfigError(f"budget must be a number above 0, got {self.budget}")
