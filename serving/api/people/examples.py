"""Examples of the routes that are about single people."""

from serving.api.examples import Bodies, Json

CONSENT: Bodies = {"nothing but the moment": {"tier": "none"}}
CONSENT_ANSWER: Json = {
    "request_id": "6c5f7d0c1f7e4d8e9a6b2f0f3f6f6a11",
    "tier": "none",
    "changed": 1767225600,
}

_RECEIPT: Json = {
    "erasure_id": "0b3b6f7a6f6c4b0f9d0f5a1c2e7d8a90",
    "handle": "5f2b7d0e" * 8,
    "asked": 1767225600,
    "due": 1767312000,
    "finished": 1767268800,
    "events": 12,
    "decisions": 4,
    "events_in_files": 310,
    "decisions_in_files": 96,
    "releases": [{"version": "20251230T020000Z-5f2b7d0e", "until": 1769652000}],
}
RECEIPT_ANSWER: Json = {
    "request_id": "6c5f7d0c1f7e4d8e9a6b2f0f3f6f6a11",
    "receipt": _RECEIPT,
    "signature": {"algorithm": "ed25519", "key_id": "c2b7a1f05e9d4c38", "signature": "mY5v…Bw=="},
}
USER_ANSWER: Json = {
    "request_id": "6c5f7d0c1f7e4d8e9a6b2f0f3f6f6a11",
    "tier": "personal",
    "changed": 1767225600,
    "erased": None,
    "consents": [{"time": 1767225600, "tier": "personal"}],
    "receipts": [],
    "events": [
        {
            "event_id": "019ae4d1-02a7-7d55-8e3f-6b1c9d7e2f40",
            "kind": "click",
            "item_id": "item-17",
            "timestamp": 1769860860,
            "received": 1769860861,
            "decision_id": None,
            "value": None,
            "text": None,
        }
    ],
    "decisions": [],
    "traits": {
        "run": "20260131-120000-000",
        "version": "3f6c0a1b2c3d",
        "as_of": 1769860800.0,
        "values": {"leaves": 0.81, "leaves_reasons": "+plan, +months, -fee"},
    },
    "ads": {
        "shown": [{"per": "campaign", "of": ["spring"], "time_ms": 1769860860000}],
        "charges": [],
    },
    "cursor": None,
}
