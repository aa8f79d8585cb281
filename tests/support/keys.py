"""Keys of callers, whose secret is their name with `-secret`."""

import hashlib

import msgspec

from serving.http.guard import Key


def key(name: str = "shop", scopes: str = "recommend", **limits: float) -> Key:
    digest = hashlib.sha256(f"{name}-secret".encode()).hexdigest()
    return msgspec.convert({"name": name, "sha256": digest, "scopes": scopes.split(","), **limits}, Key)
