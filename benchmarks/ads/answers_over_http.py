"""Times of answers of a real service with ten thousand campaigns, over one connection that stays open."""

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from benchmarks.ads.decisions import (
    N_ADS,
    N_ANSWERS,
    N_CAMPAIGNS,
    SLOTS,
    bodies,
    campaigns_of,
    make_ads_bundle,
    told_of,
)
from benchmarks.rows import Measured, Row
from marquee.core.arrays import Float64Array
from marquee.store.campaigns.opening import open_campaign_store
from tests.support.bundles import NOW
from tests.support.service_process import RunningService, running_service

MAX_P99_MS = 12.0
_KEY = "b" * 32
_WAIT_S = 90.0


def rows(root: Path) -> Iterator[Row]:
    """Yields the one row."""
    del root  # nothing is read
    yield Row(
        f"decision over HTTP: {N_CAMPAIGNS:,} campaigns, {N_ADS:,} ads, ms",
        "-",
        f"p99 of at most {MAX_P99_MS:g}; content no slower than without campaigns",
        measure,
    )


def measure(n_campaigns: int = N_CAMPAIGNS, n_ads: int = N_ADS, n_answers: int = N_ANSWERS) -> Measured:
    """Asks a service of one worker with and without campaigns, one request after the other."""
    with tempfile.TemporaryDirectory(prefix="marquee-decisions-http-") as made:
        folder = Path(made)
        bundle = make_ads_bundle(folder / "bundles", n_ads)
        with _served(folder / "none", bundle) as service:
            _ask(service, n_answers // 4, "content")
            alone, _ = _ask(service, n_answers, "content")
        _book(folder / "many", n_campaigns, n_ads)
        with _served(folder / "many", bundle) as service:
            _wait_for_ads(service)
            _ask(service, n_answers // 2, None)
            beside, _ = _ask(service, n_answers, "content")
            with_ads, n_with = _ask(service, n_answers, None)
    p99 = float(np.quantile(with_ads, 0.99))
    text = (
        f"median/p99 {told_of(with_ads)} with ads ({n_with} of {n_answers} answers held some); content "
        f"{told_of(beside)}, without campaigns {told_of(alone)}; load {os.getloadavg()[0]:.1f}"
    )
    is_slower = np.median(beside) > np.median(alone) * 1.1
    return Measured(text, p99 <= MAX_P99_MS and n_with > n_answers // 2 and not is_slower)


def _book(folder: Path, n_campaigns: int, n_ads: int) -> None:
    """Writes campaigns into the store that a service will open."""
    (folder / "events").mkdir(parents=True)
    store = open_campaign_store(str(folder / "events"))
    now = int(time.time())
    for one in campaigns_of(n_campaigns, n_ads).campaigns:
        moved = replace(one, starts=one.starts - NOW + now, ends=one.ends - NOW + now)
        store.put(moved, 0, "created", "benchmark", now * 1000)
    store.close()


@contextmanager
def _served(folder: Path, bundle: Path) -> Iterator[RunningService]:
    """Runs a service of one worker whose one surface sells slots."""
    folder.mkdir(exist_ok=True)
    digest = hashlib.sha256(_KEY.encode()).hexdigest()
    key = {"name": "benchmark", "sha256": digest, "scopes": ["recommend"]}
    (folder / "keys.json").write_text(json.dumps({"keys": [key]}))
    (folder / "surfaces.yaml").write_text(f"surfaces:\n  home: {{bundle: {bundle}, slots: {SLOTS}}}\n")
    settings = {
        "MARQUEE_BUNDLE": "",  # the file of surfaces names it
        "MARQUEE_WORKERS": "1",
        "MARQUEE_KEYS": str(folder / "keys.json"),
        "MARQUEE_EVENTS": str(folder / "events"),
        "MARQUEE_SURFACES": str(folder / "surfaces.yaml"),
    }
    with running_service(bundle, folder, **settings) as service:
        yield service


def _wait_for_ads(service: RunningService) -> None:
    """Asks until campaigns are paced and hold money."""
    deadline = time.monotonic() + _WAIT_S
    while time.monotonic() < deadline:
        _, n_with = _ask(service, 20, None)
        if n_with >= 15:
            return
    raise AssertionError(f"a service with campaigns must answer with ads within {_WAIT_S:g} s")


def _ask(service: RunningService, n_answers: int, kind: str | None) -> tuple[Float64Array, int]:
    """Returns how long each of some answers took, ms, and how many held ads."""
    parts = urlsplit(service.url)
    http = HTTPConnection(str(parts.hostname), parts.port, timeout=10)
    headers = {"authorization": f"Bearer {_KEY}", "content-type": "application/json"}
    taken, n_with = np.zeros(n_answers), 0
    for number, body in enumerate(bodies(n_answers, kind)):
        started = time.perf_counter()
        http.request("POST", "/v1/recommend", body, headers)
        reply = http.getresponse()
        content = reply.read()
        taken[number] = (time.perf_counter() - started) * 1000
        assert reply.status == 200, content
        n_with += bool(json.loads(content).get("ads"))
    http.close()
    return taken, n_with
