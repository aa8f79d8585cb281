"""The BentoML service as an object: what it loads, warms up and refuses, without a server."""

import asyncio
import gc
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from marquee.bundle.traits.run import RunManifest, write_run_manifest
from marquee.store.campaigns.campaign import HeldCampaign
from marquee.store.campaigns.opening import open_campaign_store
from marquee.store.signing import write_key_pair
from serving.config import Settings
from serving.http.guard import Guard
from serving.workers.heartbeat import Heartbeat
from serving.workers.table import WorkerTable
from tests.support.ad_service import booking
from tests.support.asgi import JSON_HEADERS, request
from tests.support.bundles import publish_tiny
from tests.support.quiet_bentoml import bentoml, service

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of BentoML's own making


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return publish_tiny(tmp_path).parent


@pytest.fixture(autouse=True)
def _log_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.telemetry.logs.configure", lambda: None)  # other tests read the log too
    cast(Any, service.MarqueeService).__dict__.pop("parts", None)  # of another test's settings


def test_service_loads_its_bundle_when_it_starts(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "SETTINGS", Settings(bundle=str(bundle)))
    made = service.MarqueeService()
    assert next(iter(made.parts.surfaces.channels)).recommender is None
    made.load_release()
    assert next(iter(made.parts.surfaces.channels)).recommender is not None
    assert gc.get_freeze_count() > 0
    made.parts.surfaces.close()
    gc.unfreeze()


def test_collector_does_not_look_through_campaigns(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = str(tmp_path / "events")
    (tmp_path / "events").mkdir()
    store = open_campaign_store(where)
    store.put(booking("frozen"), 0, "created", "anna", 1)
    store.close()
    monkeypatch.setattr(service, "SETTINGS", Settings(bundle=str(bundle), events=where))
    made = service.MarqueeService()
    made.load_release()
    ads, spending = made.parts.ads, made.parts.spending
    assert ads is not None
    assert spending is not None
    try:
        looked_at = [one for one in gc.get_objects() if isinstance(one, HeldCampaign)]
        assert not [one for one in looked_at if one.campaign.campaign_id == "frozen"]
        assert "frozen" in spending.campaigns.current().held
    finally:
        ads.close()
        spending.close()
        made.parts.surfaces.close()
        gc.unfreeze()


def test_application_answers_once_the_service_has_started(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "SETTINGS", Settings(bundle=str(bundle)))
    app = cast(Any, service.MarqueeService).to_asgi()  # the decorator makes a RoutedService of the class
    made = service.MarqueeService()
    assert asyncio.run(request(app, "GET", "/readyz")).status == 503
    made.load_release()
    assert asyncio.run(request(app, "GET", "/readyz")).status == 200
    made.parts.surfaces.close()
    gc.unfreeze()


def test_file_of_keys_is_looked_at_beside_the_event_loop(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"keys": [{"name": "a", "sha256": "0" * 64, "scopes": ["metrics"]}]}))
    monkeypatch.setattr(service, "SETTINGS", Settings(bundle=str(bundle), keys=str(keys)))
    threads, beats, looks = dict[str, object](), list[Callable[[], None]](), list[Guard]()

    class Noted:
        def __init__(self, name: str, work: object, *_: object) -> None:
            threads[name] = work

        def start(self) -> None:
            pass

    def of_worker(_table: object, others: Sequence[Callable[[], None]]) -> Any:
        beats.extend(others)
        return Heartbeat(WorkerTable())

    def refresh(guard: Guard) -> None:
        looks.append(guard)

    monkeypatch.setattr("serving.application.Background", Noted)
    monkeypatch.setattr(Heartbeat, "of_worker", of_worker)
    monkeypatch.setattr(Guard, "refresh", refresh)
    cast(Any, service.MarqueeService).to_asgi()
    for beat in beats:
        beat()
    assert beats
    assert not looks
    cast(Callable[[], None], threads["keys"])()
    assert looks


@pytest.mark.parametrize(
    ("path", "message"),
    [("", "MARQUEE_BUNDLE .* must be set"), ("/nowhere", "/nowhere holds neither")],
)
def test_bundle_is_verified_before_any_worker_starts(
    monkeypatch: pytest.MonkeyPatch, path: str, message: str
) -> None:
    monkeypatch.setattr(service, "SETTINGS", Settings(bundle=path))
    with pytest.raises(bentoml.exceptions.BentoMLConfigException, match=message):
        cast(Any, service.MarqueeService).inner.verify_bundle()


def test_unsigned_bundle_stops_the_start_where_a_signature_is_wanted(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, public = write_key_pair(tmp_path / "key")
    monkeypatch.setattr(service, "SETTINGS", Settings(bundle=str(bundle), trusted_keys=str(public)))
    with pytest.raises(
        bentoml.exceptions.BentoMLConfigException, match="is not signed, expected a signature"
    ):
        cast(Any, service.MarqueeService).inner.verify_bundle()


def test_surfaces_are_verified_before_any_worker_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "surfaces.yaml"
    monkeypatch.setattr(service, "SETTINGS", Settings(surfaces=str(file)))
    for text, message in (
        ("surfaces: 1", "must name a file of surfaces"),
        ("surfaces: {a: {bundle: nowhere}}", "nowhere holds neither"),
    ):
        file.write_text(text)
        with pytest.raises(bentoml.exceptions.BentoMLConfigException, match=message):
            cast(Any, service.MarqueeService).inner.verify_bundle()


def test_run_of_customers_is_verified_before_any_worker_starts_and_answers(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, keys = tmp_path / "run", tmp_path / "keys.json"
    run.mkdir()
    digest = hashlib.sha256(b"secret").hexdigest()
    keys.write_text(json.dumps({"keys": [{"name": "a", "sha256": digest, "scopes": ["users"]}]}))
    settings = Settings(bundle=str(bundle), traits=str(run), keys=str(keys))
    monkeypatch.setattr(service, "SETTINGS", settings)
    with pytest.raises(bentoml.exceptions.BentoMLConfigException, match=r"it has no manifest.json; run"):
        cast(Any, service.MarqueeService).inner.verify_bundle()
    write_run_manifest(run, RunManifest("churn", "v", 7, None, ["plan"], {}, {}, {}))
    cast(Any, service.MarqueeService).inner.verify_bundle()
    app = cast(Any, service.MarqueeService).to_asgi()
    headers = {**JSON_HEADERS, "authorization": "Bearer secret"}
    reply = asyncio.run(request(app, "GET", "/v1/audiences/keep", b"", headers))
    assert (reply.status, "the audiences are []" in reply.error["message"]) == (404, True)
    reply = asyncio.run(request(app, "POST", "/v1/score/leaves", b'{"columns": {}}', headers))
    assert (reply.status, "the traits that score are []" in reply.error["message"]) == (404, True)


def test_wrong_setting_is_told_without_a_stack_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARQUEE_MAX_K", "many")
    with pytest.raises(
        bentoml.exceptions.BentoMLConfigException, match="MARQUEE_MAX_K must be an integer, got 'many'"
    ):
        service.read_settings()
