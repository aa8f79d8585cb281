"""Opens the bidder of an exchange for one process."""

from marquee.core.ids import PADDING_INDEX
from marquee.errors import ConfigError
from serving.api.ads.sales import AdSales
from serving.api.customers.deciding import CustomersAtDecision
from serving.api.exchange.bidder import Bidder, ClickProbability
from serving.api.exchange.declared import read_exchange
from serving.api.exchange.exchange import ExchangeRoutes
from serving.config import Settings
from serving.recording.opening import OpenedLog
from serving.recording.recorder import Recorder
from serving.recording.users import KnownUsers
from serving.releases.surfaces import Surfaces
from serving.telemetry.metrics import Metrics

# As beside content: a click in a hundred until more is known.
_PRIOR_CLICKS, _PRIOR_SHOWN = 1.0, 100.0


def open_exchange(
    settings: Settings,
    surfaces: Surfaces,
    ads: AdSales,
    recorder: Recorder,
    log: OpenedLog,
    users: KnownUsers,
    customers: CustomersAtDecision,
    metrics: Metrics,
) -> ExchangeRoutes:
    """Returns the routes of the exchange that the settings name; raises ConfigError if its file is none."""
    exchange, signer = read_exchange(settings.exchange, settings.currency)
    bidder = Bidder(exchange, signer, ads.spending, ads.paces, users, customers, counted_clicks(surfaces))
    return ExchangeRoutes(bidder, recorder, log, metrics)


def validate_exchange(settings: Settings) -> None:
    """Raises ConfigError if the settings name an exchange that cannot be bid at."""
    if not settings.exchange:
        return
    if not settings.events:
        raise ConfigError(
            f"MARQUEE_EXCHANGE needs MARQUEE_EVENTS, beside which campaigns are kept, got "
            f"{settings.exchange!r} alone; set both"
        )
    read_exchange(settings.exchange, settings.currency)


def counted_clicks(surfaces: Surfaces) -> ClickProbability:
    """Returns a function that says how likely an impression is clicked, by the counts of releases."""

    def probability(item_id: str, surface: str) -> float | None:
        for channel in surfaces.channels:
            answering = channel.answering
            counts = answering.current.bundle.click_counts if answering is not None else None
            if answering is None or counts is None:
                continue
            items = answering.current.item_pool.table.encode([item_id])
            if items[0] == PADDING_INDEX:
                continue
            clicks, shown = counts.on(surface).of(items)
            return float((clicks[0] + _PRIOR_CLICKS) / (shown[0] + _PRIOR_SHOWN))
        return None

    return probability
