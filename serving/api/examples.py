"""Examples of what is asked and answered, each read and validated by the tests."""

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]
"""A piece of a JSON document: the wire, where there is nothing to say about values."""
Bodies = Mapping[str, Json]
"""Bodies of requests, by title."""

REQUEST_ID = "5f0c7d0e4b1f4b0c9a1d2f3e4a5b6c7d"
VERSION = "2026-01-31T12-00-00"

ERROR: Json = {
    "error": {
        "code": "invalid_request",
        "message": "k must be an integer from 1 to 500, got 0; change it",
        "request_id": REQUEST_ID,
        "field": "k",
    }
}

RECOMMEND: Bodies = {
    "known user": {"user_id": "u0007", "k": 2},
    "what was looked for": {"user_id": "u0007", "query": "jazz festivals", "k": 2},
    "what each stage took": {"user_id": "u0007", "k": 2, "timings": True},
    "ads for an anonymous visitor": {
        "history": ["item-3", {"item_id": "item-9", "kind": "click"}],
        "kind": "ad",
        "k": 2,
    },
    "new user with features": {
        "user_id": "never-seen",
        "features": {"age": 31, "interests": ["music", "film"]},
        "context": {"device": "phone"},
        "exclude": ["item-4"],
    },
    "comedies and dramas of the nineties": {
        "user_id": "u0007",
        "filters": {
            "genres": {"any_of": ["Comedy", "Drama"], "none_of": ["Horror"]},
            "year": {"min": 1990, "max": 1999},
        },
    },
    "varied, two of a category at most, the new first": {
        "user_id": "u0007",
        "reranking": {
            "diversity": "mmr",
            "diversity_weight": 0.3,
            "caps": {"category": 2},
            "spacing": {"advertiser_id": 3},
            "freshness_weight": 0.2,
            "freshness_half_life_days": 7,
        },
    },
    "listed since the spring": {"user_id": "u0007", "filters": {"listed": {"min": "2026-03-01"}}},
}
ANSWER: Json = {
    "request_id": REQUEST_ID,
    "version": VERSION,
    "source": "personal",
    "items": [
        {"item_id": "item-17", "score": 4.25, "kind": "content"},
        {"item_id": "item-4", "score": 3.5, "kind": "content"},
    ],
    "requested": 2,
    "returned": 2,
}

BATCH: Bodies = {"two users": {"requests": [{"user_id": "u0007", "k": 2}, {"user_id": "u0008", "k": 2}]}}
BATCH_ANSWER: Json = {"request_id": REQUEST_ID, "answers": [ANSWER, ERROR]}

SIMILAR: Bodies = {
    "two like it": {"item_id": "item-17", "k": 2, "exclude": ["item-4"]},
    "in stock, of the same brand": {
        "item_id": "item-17",
        "filters": {"brand": {"any_of": ["Acme"]}, "in_stock": {"any_of": [True]}},
    },
    "varied, one of a brand": {
        "item_id": "item-17",
        "reranking": {"diversity": "mmr", "caps": {"brand": 1}},
    },
}
SIMILAR_ANSWER: Json = {
    **ANSWER,
    "source": "similar",
    "items": [{"item_id": "item-8", "score": 0.75, "kind": "content"}],
    "returned": 1,
}

PAGE: Bodies = {
    "a home page": {
        "user_id": "u0007",
        "rows": [
            {"row": "for_you", "k": 2},
            {"row": "similar", "name": "because", "k": 1},
            {"row": "popular", "kind": "ad", "k": 1},
            {"row": "new", "k": 1},
            {"row": "continued", "name": "playlist 3", "items": ["c0003", "c0009"], "k": 1},
        ],
    }
}
PAGE_ANSWER: Json = {
    "request_id": REQUEST_ID,
    "version": VERSION,
    "rows": [
        {
            "row": "for_you",
            "because": "Chosen for you",
            "source": "personal",
            "version": VERSION,
            "items": ANSWER["items"],
            "requested": 2,
            "returned": 2,
        },
        {
            "row": "similar",
            "name": "because",
            "because": "Similar to Golden noodles for experts",
            "like_item": "c0008",
            "source": "similar",
            "version": VERSION,
            "items": [{"item_id": "c0031", "score": 0.75, "kind": "content"}],
            "requested": 1,
            "returned": 1,
        },
    ],
    "cursor": "eJwBTACz_4xpIQyTsjIwMjYtMDEtMzFUMTI",
}

BUNDLE_ANSWER: Json = {
    "name": "films",
    "version": VERSION,
    "created": 1769860800,
    "n_items": 1682,
    "n_users": 943,
    "dim": 64,
    "history_length": 50,
    "kinds": ["click"],
    "index": "flat",
    "index_recall": 1.0,
    "filters": {"genres": "texts", "year": "number"},
    "features": ["age", "device"],
    "metrics": {"recall@10": 0.25, "ndcg@10": 0.125},
}

ITEMS: Bodies = {
    "a new film and an ad that ends": {
        "items": [
            {"item_id": "item-900", "attributes": {"title": "The new one", "genres": ["Comedy"]}},
            {"item_id": "ad-7", "kind": "ad", "available_until": 1767225600},
        ]
    }
}
ITEMS_ANSWER: Json = {
    "request_id": REQUEST_ID,
    "version": VERSION,
    "items": [
        {"item_id": "item-900", "state": "live", "unknown_attributes": ["colour"]},
        {"item_id": "item-17", "state": "in_release"},
    ],
    "n_kept": 12,
    "max_kept": 10000,
}
IMPORT: Bodies = {
    "a new film": {"item_id": "item-900", "attributes": {"title": "The new one", "genres": ["Comedy"]}},
    "an ad that ends": {"item_id": "ad-7", "kind": "ad", "available_until": 1767225600},
}
IMPORT_ANSWER: Json = {
    "request_id": REQUEST_ID,
    "version": VERSION,
    "taken": {"live": 20000, "in_release": 1682},
    "rejected": {"invalid_request": 1},
    "rejected_lines": [
        {
            "line": 4711,
            "reason": "invalid_request",
            "message": "item_id is not as expected: Expected `str`, got `int`; /docs.json has every field",
            "field": "item_id",
        }
    ],
    "unknown_attributes": {"colour": 12},
    "unread_attributes": {},
    "n_kept": 21682,
    "max_kept": 50000,
}
ITEMS_PAGE: Json = {
    "version": VERSION,
    "items": [
        {"item_id": "ad-7", "state": "live", "kind": "ad", "available_until": 1767225600},
        {"item_id": "item-900", "state": "live", "kind": "content", "attributes": {"title": "The new one"}},
    ],
    "cursor": "item-900",
}
ITEM_CHANGE: Bodies = {
    "another price, until the new year": {"attributes": {"price": 9.5}, "available_until": 1767225600}
}
CHANGED_ANSWER: Json = {**ITEMS_ANSWER, "items": [{"item_id": "item-17", "state": "changed"}]}
WITHDRAWN_ANSWER: Json = {**ITEMS_ANSWER, "items": [{"item_id": "item-17", "state": "withdrawn"}]}

DECISION_ID = "019ae4d0-7f3c-7c1e-9b2a-4f6d8e0a1c35"
EVENTS: Bodies = {
    "a click on what was recommended": {
        "events": [
            {
                "event_id": "019ae4d1-02a7-7d55-8e3f-6b1c9d7e2f40",
                "kind": "click",
                "item_id": "item-17",
                "timestamp": 1769860860,
                "user_id": "u0007",
                "decision_id": DECISION_ID,
            }
        ]
    },
    "was on screen, then bought, told by a device whose clock may be wrong": {
        "events": [
            {
                "event_id": f"{DECISION_ID}-1",
                "kind": "exposure",
                "item_id": "item-4",
                "timestamp": 1769860850,
                "decision_id": DECISION_ID,
                "sent_at": 1769860870,
            },
            {
                "event_id": "order-1871",
                "kind": "conversion",
                "item_id": "item-4",
                "timestamp": 1769860861,
                "user_id": "u0007",
                "value": 12.5,
                "sent_at": 1769860870,
            },
        ]
    },
}
EVENTS_ANSWER: Json = {
    "request_id": REQUEST_ID,
    "accepted": 1,
    "repeated": 0,
    "rejected": {"timestamp_out_of_range": 1},
    "rejected_rows": [{"row": 1, "reason": "timestamp_out_of_range", "field": "timestamp"}],
}

_RULES: list[Json] = [
    {
        "id": "spring fair",
        "author": "anna",
        "note": "the partner's week",
        "from": 1769904000,
        "until": 1770508800,
        "surfaces": ["default"],
        "pin": [{"item_id": "item-17", "place": 1}, {"item_id": "ad-7", "place": 4}],
    },
    {"id": "recall", "author": "ben", "block": {"items": ["item-4"]}},
    {
        "id": "own brand",
        "author": "anna",
        "boost": {"weight": 0.2, "filters": {"brand": {"any_of": ["Acme"]}}},
    },
]
_FOR_USERS: Json = {
    "id": "rescue",
    "author": "anna",
    "users": {"where": "leaves >= 0.5 AND NOT segment = 'sleepers'", "audiences": ["keep"]},
    "pin": [{"item_id": "item-17", "place": 1}],
}
RULES: Bodies = {
    "pinned for a week, recalled, and lifted": {"rules": _RULES},
    "for those who are about to leave": {"rules": [*_RULES, _FOR_USERS]},
    "no rules any more": {"rules": []},
}
RULES_ANSWER: Json = {"version": 3, "rules": _RULES, "changed": 1769900000, "changed_by": "merchandising"}
RULE_HISTORY_ANSWER: Json = {
    "changes": [{**RULES_ANSWER, "added": ["recall"], "edited": ["spring fair"], "removed": []}]
}
DRY_RUN: Bodies = {"an item in front, on the last answers": {"rules": _RULES[:1], "sample": 200}}
DRY_RUN_ANSWER: Json = {
    "version": 3,
    "asked": 200,
    "left_out": 4,
    "changed": 187,
    "gaining": [{"item_id": "item-17", "before": 31, "after": 200}],
    "losing": [{"item_id": "item-8", "before": 88, "after": 61}],
    "applied": {"spring fair": 200},
    "predicted_clicks": {"before": 61.5, "after": 58.25, "clicks": 2114},
}

SCORE: Bodies = {
    "a form": {"columns": {"plan": "monthly", "months": 3, "fee": 74.5}},
    "of a user": {"columns": {"plan": "monthly", "months": 3, "fee": None}, "user_id": "u0007"},
    "of purchases": {
        "columns": {"orders": 5, "recency_days": 12, "tenure_days": 230, "repeat_value": 41.5},
        "consent": "personal",
    },
}
SCORE_ANSWER: Json = {
    "request_id": REQUEST_ID,
    "trait": "leaves",
    "value": 0.81,
    "version": "3f6c0a1b2c3d",
    "as_of": None,
    "reasons": [
        {"column": "plan", "contribution": 0.62},
        {"column": "months", "contribution": 0.55},
        {"column": "fee", "contribution": -0.04},
    ],
}
AUDIENCE_ANSWER: Json = {
    "request_id": REQUEST_ID,
    "audience": "keep",
    "run": "20260131-120000-000",
    "version": "3f6c0a1b2c3d",
    "token": "0f1e2d3c4b5a6978",
    "members": [
        {"user_id": "c00017", "group": "contact", "position": 1},
        {"user_id": "c00411", "group": "holdout", "position": 2},
    ],
    "cursor": "20260131-120000-000.2",
}

SHARE: Bodies = {"one in twenty": {"share": 0.05}}
ROLLOUT_ANSWER: Json = {
    "version": VERSION,
    "canary": {"version": "2026-02-01T12-00-00", "share": 0.05},
    "shadow": None,
}
RELEASES_ANSWER: Json = {
    "releases": [
        {
            "version": VERSION,
            "surfaces": ["default"],
            "created": 1769860800,
            "is_current": True,
            "is_answering": True,
            "canary_share": 0.0,
            "shadow_share": 0.0,
            "metrics": {"recall@10": 0.25},
        }
    ]
}

ALIVE: Json = {"status": "alive"}
READY: Json = {"status": "ready"}
METRICS = """# HELP marquee_requests_total Replies, by route and status.
# TYPE marquee_requests_total counter
marquee_requests_total{route="/v1/recommend",status="200"} 7.0
"""
