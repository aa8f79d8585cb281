"""Runs of customers as a service reads them: whole and as written, or refused in words."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from marquee.bundle.traits.pseudonyms import pseudonym
from marquee.bundle.traits.run import MANIFEST_FILE, CustomersRun, RunManifest, write_run_manifest
from marquee.errors import BundleError, BundleNotFoundError, BundleVersionError, ChecksumError, ConfigError
from tests.support.customers import copied_run, served_table, write_runs


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_runs(tmp_path_factory.mktemp("shop"), served_table())


def test_run_under_pseudonyms_is_served_with_its_key(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copied_run(shop, tmp_path)
    rows = pl.read_parquet(run / "traits.parquet")
    key, plain = b"of the shop, and long", rows["user_id"][0]
    names = pl.Series("user_id", [pseudonym(one, key) for one in rows["user_id"]])
    rows.with_columns(names).write_parquet(run / "traits.parquet")
    manifest = json.loads((run / MANIFEST_FILE).read_text()) | {"pseudonyms": "SHOP_KEY", "files": {}}
    write_run_manifest(run, msgspec.convert(manifest, RunManifest))
    monkeypatch.delenv("SHOP_KEY", raising=False)
    with pytest.raises(ConfigError, match="environment variable SHOP_KEY, got 0"):
        CustomersRun.open(run)
    monkeypatch.setenv("SHOP_KEY", key.decode())
    opened = CustomersRun.open(run)
    assert opened.traits_of(plain) == rows.drop("user_id").row(0, named=True)
    assert opened.traits_of(pseudonym(plain, key)) is None


def spoil_weights(run: Path) -> None:
    """Takes a weight away, and makes the checksum agree."""
    path = run / "traits" / "leaves.json"
    trait = json.loads(path.read_text())
    model = trait["model"]
    if model["type"] == "logistic":
        model["weights"] = model["weights"][1:]
    else:
        model["trees"][0]["term"] = [9_999 for _ in model["trees"][0]["term"]]
    path.write_text(json.dumps(trait))
    manifest = json.loads((run / MANIFEST_FILE).read_text())
    content = path.read_bytes()
    manifest["files"]["traits/leaves.json"] = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
    }
    (run / MANIFEST_FILE).write_text(json.dumps(manifest))


def edit_manifest(run: Path, **changes: object) -> None:
    manifest = json.loads((run / MANIFEST_FILE).read_text())
    (run / MANIFEST_FILE).write_text(json.dumps(manifest | changes))


SPOILT: dict[str, tuple[Any, type[Exception], str]] = {
    "one byte": (
        lambda run: (run / "audiences" / "keep.csv").write_bytes(b"x"),
        ChecksumError,
        "must have .* bytes of the checksum",
    ),
    "a file is gone": (lambda run: (run / "traits" / "leaves.json").unlink(), BundleError, "leaves.json"),
    "no manifest": (
        lambda run: (run / MANIFEST_FILE).unlink(),
        BundleNotFoundError,
        "it has no manifest.json",
    ),
    "newer": (lambda run: edit_manifest(run, format=99), BundleVersionError, "has format 99"),
    "unknown field": (lambda run: edit_manifest(run, more=1), BundleError, "is no manifest of a run"),
    "no JSON": (lambda run: (run / MANIFEST_FILE).write_bytes(b"\xff{"), BundleError, "is no manifest"),
    "a path outside": (
        lambda run: edit_manifest(run, files={"../x": {"sha256": "", "bytes": 0}}),
        BundleError,
        "must name files of its folder",
    ),
    "a weight is missing": (spoil_weights, BundleError, "cannot score"),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_run_that_is_not_what_was_written_is_refused_in_words(shop: Path, tmp_path: Path, kind: str) -> None:
    spoil, error, words = SPOILT[kind]
    run = copied_run(shop, tmp_path)
    CustomersRun.open(run)
    spoil(run)
    with pytest.raises(error, match=words):
        CustomersRun.open(run)


@pytest.mark.parametrize("kind", ["newer", "no JSON", "changes are gone"])
def test_earlier_run_that_cannot_be_read_leads_to_no_changes(shop: Path, tmp_path: Path, kind: str) -> None:
    run = CustomersRun.open(copied_run(shop, tmp_path))
    audience, facts = next(iter(run.manifest.audiences.items()))
    earlier = run.folder.with_name("00000101-000000-000")
    shutil.copytree(run.folder, earlier)
    # As if the run at hand had begun where this one ended.
    before = msgspec.structs.replace(facts, after=facts.before, before="longer ago")
    edit_manifest(earlier, audiences={audience: msgspec.to_builtins(before)})
    assert run.changes_since(audience, "longer ago") is not None
    if kind in SPOILT:
        SPOILT[kind][0](earlier)
    else:
        (earlier / "audiences" / f"{audience}.changes.jsonl").unlink()
    assert run.changes_since(audience, "longer ago") is None
