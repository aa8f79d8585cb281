"""Examples of bid requests and responses, each read and validated by the tests."""

from serving.api.examples import Bodies, Json

AUCTION: Bodies = {
    "a banner, second price": {
        "id": "80ce30c53c16e6ede735f123ef6e32361bfc7b22",
        "at": 2,
        "cur": ["USD"],
        "imp": [{"id": "1", "bidfloor": 0.03, "banner": {"w": 300, "h": 250}}],
        "site": {"id": "102855", "domain": "www.example.com"},
        "device": {"devicetype": 2, "geo": {"country": "USA"}},
    }
}
AUCTION_ANSWER: Json = {
    "id": "80ce30c53c16e6ede735f123ef6e32361bfc7b22",
    "bidid": "018bcfe5-6800-7000-8000-000000000000",
    "cur": "USD",
    "seatbid": [
        {
            "seat": "512",
            "bid": [
                {
                    "id": "018bcfe5-6800-7000-8000-000000000000.1",
                    "impid": "1",
                    "price": 2.16,
                    "cid": "spring",
                    "crid": "ad-7",
                    "adomain": ["acme.example"],
                    "exp": 3600,
                    "adm": "<a href='https://acme.example'>…</a>",
                    "mtype": 1,
                    "w": 300,
                    "h": 250,
                    "burl": "https://ads.example/v1/openrtb2/notices/billing/…?price=${AUCTION_PRICE}",
                }
            ],
        }
    ],
}
