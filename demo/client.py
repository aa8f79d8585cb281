"""A caller of the service: one request over HTTP, its answer, and the time it took."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass

from demo.errors import DemoError

_TIMEOUT_S = 10.0

# The service runs beside us: it is asked directly, whatever proxy the environment names.
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class ServedItem:
    """One item of an answer."""

    item_id: str
    score: float
    kind: str


@dataclass(frozen=True)
class ServedAnswer:
    """What came back, and how long it took.

    Attributes:
        items: Best first.
        source: What the answer rests on.
        version: The bundle that answered.
        short_reason: Why there are fewer items than wanted; "" if there are not.
        latency_ms: From the caller's side, connection included.
    """

    items: tuple[ServedItem, ...]
    source: str
    version: str
    short_reason: str
    latency_ms: float


def ask(url: str, body: Mapping[str, object]) -> ServedAnswer:
    """Returns the answer to a request for recommendations; raises DemoError if it is an error or none."""
    request = urllib.request.Request(
        f"{url}/v1/recommend",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    started = time.perf_counter()
    try:
        with direct.open(request, timeout=_TIMEOUT_S) as response:
            text = response.read()
    except urllib.error.HTTPError as error:
        with error:
            problem = error.read().decode(errors="replace")
        raise DemoError(f"the service answered {error.code} to {body}: {problem}") from error
    except OSError as error:
        raise DemoError(f"the service did not answer {body}: {error}") from error
    latency_ms = (time.perf_counter() - started) * 1000
    answer = json.loads(text)
    items = tuple(ServedItem(item["item_id"], item["score"], item["kind"]) for item in answer["items"])
    return ServedAnswer(
        items, answer["source"], answer["version"], answer.get("short_reason") or "", latency_ms
    )
