"""A typed client of the service, for threads and for asyncio: `pip install 'marquee[client]'`.

It keeps its connections, repeats what may be repeated within a budget and a deadline, and gives typed
answers, or one of four errors. It imports nothing else of this library: neither numpy nor torch is loaded.

```python
from marquee.client import Client, RecommendRequest

with Client("http://127.0.0.1:3000", deadline_s=0.5) as client:
    answer = client.recommend(RecommendRequest(user_id="customer-007", k=3))
    print(answer.source, [item.item_id for item in answer.items])
```

`AsyncClient` has the same methods, to be awaited. Both may be shared: by threads, by tasks of one loop,
and by the children of `fork`, each of which has connections of its own.
"""

from marquee.client.asynchronous import AsyncClient
from marquee.client.errors import (
    RefusedError,
    ServiceError,
    TimedOutError,
    UnexpectedReplyError,
    UnreachableError,
)
from marquee.client.messages import (
    BoostMessage,
    BundleAnswer,
    ConsentAnswer,
    ConsentRequest,
    DryRunAnswer,
    DryRunRequest,
    EventMessage,
    EventsAnswer,
    Filter,
    HistoryEntry,
    ItemChange,
    ItemMessage,
    ItemsAnswer,
    ItemsImportAnswer,
    ItemsPage,
    ItemsRequest,
    PageAnswer,
    PageRequest,
    PinMessage,
    PlacedItem,
    ReceiptAnswer,
    RecommendAnswer,
    Recommendation,
    RecommendRequest,
    RejectedLine,
    ReleaseAnswer,
    ReleasesAnswer,
    RerankingRequest,
    RolloutAnswer,
    RowAnswer,
    RowRequest,
    RuleHistoryAnswer,
    RuleMessage,
    RulesAnswer,
    RulesRequest,
    ScoreRequest,
    SimilarRequest,
    TargetMessage,
    UserAnswer,
    WhyAnswer,
    WhyItem,
)
from marquee.client.retries import RetryPolicy
from marquee.client.threaded import Client

__all__ = [
    "AsyncClient",
    "BoostMessage",
    "BundleAnswer",
    "Client",
    "ConsentAnswer",
    "ConsentRequest",
    "DryRunAnswer",
    "DryRunRequest",
    "EventMessage",
    "EventsAnswer",
    "Filter",
    "HistoryEntry",
    "ItemChange",
    "ItemMessage",
    "ItemsAnswer",
    "ItemsImportAnswer",
    "ItemsPage",
    "ItemsRequest",
    "PageAnswer",
    "PageRequest",
    "PinMessage",
    "PlacedItem",
    "ReceiptAnswer",
    "RecommendAnswer",
    "RecommendRequest",
    "Recommendation",
    "RefusedError",
    "RejectedLine",
    "ReleaseAnswer",
    "ReleasesAnswer",
    "RerankingRequest",
    "RetryPolicy",
    "RolloutAnswer",
    "RowAnswer",
    "RowRequest",
    "RuleHistoryAnswer",
    "RuleMessage",
    "RulesAnswer",
    "RulesRequest",
    "ScoreRequest",
    "ServiceError",
    "SimilarRequest",
    "TargetMessage",
    "TimedOutError",
    "UnexpectedReplyError",
    "UnreachableError",
    "UserAnswer",
    "WhyAnswer",
    "WhyItem",
]
