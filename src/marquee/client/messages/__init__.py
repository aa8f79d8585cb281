"""Requests to the service and its answers, as typed messages; written by `make lock`.

A field of a request that is left out is not sent: then the service's own default counts, which may differ
from surface to surface. Fields of an answer that this client does not know are passed over, so that a
service may be newer than its clients; words such as `source` are plain text for the same reason.
"""

from marquee.client.messages.asking import (
    BatchRequest,
    BundleAnswer,
    CreativeMessage,
    Filter,
    HistoryEntry,
    PageAnswer,
    PageRequest,
    RecommendAnswer,
    Recommendation,
    RecommendRequest,
    RerankingRequest,
    RowAnswer,
    RowRequest,
    SimilarRequest,
)
from marquee.client.messages.events import EventMessage, EventsAnswer, EventsRequest, RejectedEvent
from marquee.client.messages.items import (
    ItemChange,
    ItemMessage,
    ItemsAnswer,
    ItemsImportAnswer,
    ItemsPage,
    ItemsRequest,
    ListedItem,
    PlacedItem,
    RejectedLine,
)
from marquee.client.messages.operating import HealthAnswer
from marquee.client.messages.releases import (
    ReleaseAnswer,
    ReleasesAnswer,
    RolloutAnswer,
    ShareRequest,
    TrialAnswer,
)
from marquee.client.messages.shared import ErrorAnswer, ErrorBody, FeatureValue
from marquee.client.messages.users import (
    ConsentAnswer,
    ConsentMessage,
    ConsentRequest,
    HeldEvent,
    ReceiptAnswer,
    ReceiptMessage,
    ReleaseMessage,
    SignatureMessage,
    UserAnswer,
)

__all__ = [
    "BatchRequest",
    "BundleAnswer",
    "ConsentAnswer",
    "ConsentMessage",
    "ConsentRequest",
    "CreativeMessage",
    "ErrorAnswer",
    "ErrorBody",
    "EventMessage",
    "EventsAnswer",
    "EventsRequest",
    "FeatureValue",
    "Filter",
    "HealthAnswer",
    "HeldEvent",
    "HistoryEntry",
    "ItemChange",
    "ItemMessage",
    "ItemsAnswer",
    "ItemsImportAnswer",
    "ItemsPage",
    "ItemsRequest",
    "ListedItem",
    "PageAnswer",
    "PageRequest",
    "PlacedItem",
    "ReceiptAnswer",
    "ReceiptMessage",
    "RecommendAnswer",
    "RecommendRequest",
    "Recommendation",
    "RejectedEvent",
    "RejectedLine",
    "ReleaseAnswer",
    "ReleaseMessage",
    "ReleasesAnswer",
    "RerankingRequest",
    "RolloutAnswer",
    "RowAnswer",
    "RowRequest",
    "ShareRequest",
    "SignatureMessage",
    "SimilarRequest",
    "TrialAnswer",
    "UserAnswer",
]
