"""The manifest of a bundle: read back as it was written, with every type checked."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from marquee.bundle.bundle import Bundle
from marquee.bundle.clicks.contents import HEAD_FILES
from marquee.bundle.manifest import MANIFEST, IndexFacts, KnownUntil, Manifest, UserNames
from marquee.bundle.publishing import publish_copy
from marquee.bundle.texts.contents import TEXT_FILES
from marquee.core.event_kinds import EventKinds, KindConfig
from marquee.errors import BundleError
from marquee.index.faiss_index import IndexConfig, IndexKind
from marquee.index.sweep import IndexSweep, SweepPoint
from marquee.store.files import FileFacts
from tests.support.bundles import publish_tiny
from tests.support.round_trips import fields_at_default

INDEX_CONFIG = IndexConfig(
    kind=IndexKind.ivf,
    target_recall=0.9,
    n_links=3,
    ef_construction=4,
    ef_search=5,
    n_lists=6,
    n_probe=7,
    coordinates_per_code=8,
    shards=9,
    candidates_per_item=9,
    max_ann_cost=0.5,
    n_build_threads=2,
)
KINDS = EventKinds(
    {
        "rating": KindConfig(weight=2.0, edges=[3.0], part_weights=[0.5, 1.5], weigh_by_value=True),
        "click": KindConfig(),
    }
)
EVERYTHING = Manifest(
    name="tiny",
    version="v1",
    created=1_700_000_000,
    dim=3,
    n_items=4,
    n_users=5,
    history_length=6,
    has_item_bias=True,
    kinds=KINDS,
    query_inputs=("tokens",),
    item_inputs=("id_vector", "tokens"),
    index=IndexFacts(
        config=INDEX_CONFIG,
        recall=0.95,
        recall_k=10,
        reason="it is the quickest",
        sweeps=(IndexSweep("hnsw", "ef_search", 5, (SweepPoint(5, 0.9, 1e-7, 0.25),), 0.5, 10, 20),),
    ),
    metrics={"ndcg@10": 0.1234567890123},
    config={"seed": 0, "nested": {"list": [1, 2.5, None, "ä"]}},
    known_until=KnownUntil(sequence=12, timestamp=1_600_000_000),
    users=UserNames.pseudonyms,
    files={"user_ids.json": FileFacts(sha256="ab", bytes=12)},
)


def with_fact(path: str, value: object) -> bytes:
    """Returns the manifest with another value at a path such as `index.recall`, its checksum renewed."""
    body = json.loads(EVERYTHING.to_json())
    del body["manifest_sha256"]
    *parents, key = path.split(".")
    place = body
    for parent in parents:
        place = place[parent]
    place[key] = value
    checksum = hashlib.sha256(dumped(body)).hexdigest()
    return dumped({**body, "manifest_sha256": checksum})


def dumped(body: object) -> bytes:
    return (json.dumps(body, indent=1, ensure_ascii=False) + "\n").encode()


def test_every_field_of_a_manifest_survives_the_file() -> None:
    assert fields_at_default(EVERYTHING) == set(), "give each new field a value that is not its default"
    text = EVERYTHING.to_json().encode()
    assert Manifest.from_json(text) == EVERYTHING
    assert with_fact("name", "tiny") == text


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("created", "yesterday", r"Expected `int`, got `str` - at `\$\.created`"),
        ("created", 1.5, r"Expected `int`, got `float`"),
        ("n_items", None, r"Expected `int`, got `null` - at `\$\.n_items`"),
        ("has_item_bias", 1, r"Expected `bool`, got `int`"),
        ("metrics.ndcg@10", "good", r"Expected `float`, got `str`"),
        ("index.config.kind", "tree", r"Invalid enum value 'tree'"),
        ("index.config.n_probe", 0, r"n_probe must be 1 or more, got 0"),
        ("kinds.stare", {}, r"data.kinds must name at least one of .*'stare'"),
        ("kinds.click.colour", 1, r"unknown field `colour`"),
        ("colour", 1, r"unknown field `colour`"),
        ("index.colour", 1, r"unknown field `colour` - at `\$\.index`"),
    ],
)
def test_fact_of_another_type_is_refused_by_its_name(path: str, value: object, message: str) -> None:
    with pytest.raises(BundleError, match=rf"manifest\.json is no manifest: .*{message}"):
        Manifest.from_json(with_fact(path, value))


def test_manifest_of_before_an_optional_fact_is_read() -> None:
    body = json.loads(EVERYTHING.to_json())
    without = {key: value for key, value in body["index"].items() if key not in ("reason", "sweeps")}
    read = Manifest.from_json(with_fact("index", without))
    assert read == replace(EVERYTHING, index=IndexFacts(INDEX_CONFIG, 0.95, 10))


def test_manifest_of_format_2_knows_nothing_of_what_came_after_it_was_made() -> None:
    body = json.loads(EVERYTHING.to_json())
    del body["manifest_sha256"], body["known_until"], body["users"]
    body["format_version"] = 2
    text = dumped({**body, "manifest_sha256": hashlib.sha256(dumped(body)).hexdigest()})
    known = KnownUntil(timestamp=EVERYTHING.created)
    assert Manifest.from_json(text) == replace(EVERYTHING, known_until=known, users=UserNames.ids)


@pytest.mark.parametrize("version", [4, 5])
def test_manifest_of_an_earlier_format_has_neither_click_head_nor_texts(version: int) -> None:
    body = json.loads(EVERYTHING.to_json())
    del body["manifest_sha256"]
    body["format_version"] = version
    text = dumped({**body, "manifest_sha256": hashlib.sha256(dumped(body)).hexdigest()})
    read = Manifest.from_json(text)
    assert read == EVERYTHING
    assert not (HEAD_FILES | TEXT_FILES) & set(read.files)


def test_copy_keeps_a_manifest_whose_numbers_this_release_would_write_otherwise(tmp_path: Path) -> None:
    original = publish_tiny(tmp_path / "here", metrics={"recall@10": 1})
    text = (original / MANIFEST).read_bytes()
    assert Manifest.from_json(text).to_json().encode() != text
    for _ in range(2):
        copy = publish_copy(original, tmp_path / "there")
        assert (copy / MANIFEST).read_bytes() == text
    assert Bundle.load(copy).manifest.metrics == {"recall@10": 1.0}
