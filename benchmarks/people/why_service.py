"""The service that explanations are measured with: every policy, arm, creative and kind of answer."""

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import polars as pl
from rich.console import Console

from marquee.bundle.bundle import Bundle
from marquee.bundle.contents import BundleContents
from marquee.bundle.publishing import publish
from marquee.nn.architectures import SASRecConfig
from marquee.nn.losses import SampledSoftmaxConfig
from marquee.nn.negatives import MixedNegativesConfig
from marquee.nn.optimizers import LazyAdamConfig
from marquee.world import World, WorldConfig, simulate
from tests.support.service_process import RunningService, running_service
from tests.support.small_data import write_tiny_world
from training.config import ExamplesConfig, TrainConfig, TrainerConfig
from training.export import ExportConfig
from training.exporting.contents import bundle_contents
from training.fitting.fit import fit
from training.runs.folders import RunFolder
from training.runs.prepare import prepare

N_EVENTS, K, N_TOGETHER = 50, 10, 8
HOME, FEED, SLOT = "home", "feed", "slot"
SURFACES = (HOME, FEED, SLOT)
SECRET = "of the benchmark"
_FOLDER = tempfile.TemporaryDirectory(prefix="marquee-why-")
_TEMPLATES = {"plain": "{title}", "named": "{title}: {category}"}


@dataclass(frozen=True)
class Asking:
    """A service, and what it can be asked.

    Attributes:
        service: It records; of its surfaces one explores, and one draws by clicks and has creatives.
        items: Ids of the items of the release.
        users: Ids of its users.
    """

    service: RunningService
    items: Sequence[str]
    users: Sequence[str]

    def answer(self, client: httpx.Client, rng: np.random.Generator, number: int) -> list[Any]:
        """Asks for an answer or a page of any kind; returns its decisions."""
        history = [{"item_id": item, "kind": "click"} for item in rng.choice(self.items, N_EVENTS)]
        surface = FEED if number % 2 else (HOME, SLOT)[number // 2 % 2]
        body: dict[str, object] = {"surface": surface, "history": history}
        if number % 3:
            body["user_id"] = str(rng.choice(self.users))
        if number % 4 == 0:
            body["context"] = {"device": "mobile"}
        path = "/v1/recommend"
        if number % 3 == 1:
            # One batch through the tower, whatever else is on its way: sums round otherwise than alone.
            body = {"requests": [{**body, "k": K, "history": history[place:]} for place in range(N_TOGETHER)]}
            path = "/v1/recommend/batch"
        elif number % 10 == 0:
            kinds = ("for_you", "popular", "similar", "new")
            body["rows"] = [{"row": kind, "k": K // 2} for kind in kinds]
            path = "/v1/page"
        else:
            body["k"] = K
            body["exclude_seen"] = number % 5 != 0
        reply = client.post(path, json=body).raise_for_status().json()
        return list(reply.get("answers") or reply.get("rows") or [reply])


@cache
def published() -> Sequence[Path]:
    """Returns two releases of a transformer over the last 50 events, trained for one epoch."""
    # Deleted with the process: several rows ask of it.
    folder, console = Path(_FOLDER.name), Console(quiet=True)
    world: World = simulate(WorldConfig(n_users=300, n_content=400, n_ads=80, n_days=30))
    data = replace(write_tiny_world(world, folder / "world"), history_length=N_EVENTS)
    config = TrainConfig(
        runs=str(folder / "runs"),
        data=data,
        model=SASRecConfig(item_features=True),
        loss=SampledSoftmaxConfig(),
        negatives=MixedNegativesConfig(n_uniform=64),
        optimizer=LazyAdamConfig(learning_rate=0.01),
        examples=ExamplesConfig(batch_size=64),
        trainer=TrainerConfig(epochs=1, accelerator="cpu"),
    )
    run = RunFolder.open(config)
    prepared = prepare(config, run.path, console)
    fit(prepared.dataset, prepared.validation, config, run.path)
    created, plain = 1_700_000_000, ExportConfig(run=str(run.path))
    contents = bundle_contents(prepared, config, run, created, plain.index, plain.popularity)
    counted = replace(contents, click_counts=_counts(contents))
    return [
        publish(counted, folder / "bundles", data.name, created=created + number, is_activated=number == 0)
        for number in range(2)
    ]


def _counts(contents: BundleContents) -> pl.DataFrame:
    """Returns how often items and creatives were shown on the surface that draws by clicks, made up."""
    rng, items = np.random.default_rng(1), contents.catalog.item_ids.ids
    names = list(_TEMPLATES)
    shown = rng.integers(20, 200, len(items) + len(names))
    return pl.DataFrame(
        {
            "surface": SLOT,
            "item_id": [*items, *[None] * len(names)],
            "creative": [*[None] * len(items), *names],
            "shown": shown,
            "clicked": rng.binomial(shown, 0.1),
        }
    )


def _surfaces(bundle: str) -> Mapping[str, object]:
    """Returns the file of surfaces."""
    templates = [{"name": name, "template": template} for name, template in _TEMPLATES.items()]
    return {
        "default": HOME,
        "surfaces": {
            HOME: {"bundle": bundle},
            FEED: {
                "bundle": bundle,
                "reranking": {"freshness_weight": 0.2, "caps": {"category": 3}},
                "policy": {"name": "softmax", "share": 0.8, "floor": 0.1, "temperature": 0.2},
            },
            SLOT: {
                "bundle": bundle,
                "policy": {"name": "thompson", "floor": 0.02},
                "creatives": {"templates": templates, "policy": {"name": "thompson", "floor": 0.1}},
            },
        },
    }


def _experiments(release: str) -> Mapping[str, object]:
    """Returns the file of experiments: a holdout, arms on the order, and arms of two releases."""
    varied = {"weight": 0.5, "reranking": {"diversity": "mmr"}, "policy": {"name": "softmax", "floor": 0.2}}
    return {
        "holdout": {"share": 0.05},
        "experiments": {
            "orders": {"surfaces": [HOME], "arms": {"plain": {"weight": 0.5}, "varied": varied}},
            "releases": {"arms": {"old": {"weight": 0.5}, "new": {"weight": 0.5, "release": release}}},
        },
    }


@contextmanager
def asking(n_workers: int = 2, where: str = "", *, has_arms: bool = False) -> Iterator[Asking]:
    """Runs a service that records and explains.

    Args:
        n_workers: Of the service.
        where: Address of the event log; empty for a folder.
        has_arms: Whether experiments run.
    """
    bundle, other = published()
    loaded = Bundle.load(bundle)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scopes = ["recommend", "users", "metrics"]
        key = {"name": "all", "sha256": hashlib.sha256(SECRET.encode()).hexdigest(), "scopes": scopes}
        (folder / "keys.json").write_text(json.dumps({"keys": [key]}))
        (folder / "surfaces.yaml").write_bytes(msgspec.yaml.encode(_surfaces(str(bundle.parent))))
        (folder / "experiments.yaml").write_bytes(msgspec.yaml.encode(_experiments(other.name)))
        settings = {
            "MARQUEE_BUNDLE": "",
            "MARQUEE_SURFACES": str(folder / "surfaces.yaml"),
            "MARQUEE_EXPERIMENTS": str(folder / "experiments.yaml") if has_arms else "",
            "MARQUEE_EVENTS": where or str(folder / "log"),
            "MARQUEE_KEYS": str(folder / "keys.json"),
            "MARQUEE_WORKERS": str(n_workers),
        }
        with running_service(bundle, folder, **settings) as service:
            service.client.headers["authorization"] = f"Bearer {SECRET}"
            yield Asking(service, loaded.catalog.item_ids.ids, loaded.user_ids.ids)
