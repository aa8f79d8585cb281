"""Refusals before and while a bundle is written, and their remains on disk."""

import fcntl
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from marquee.bundle.bundle import Bundle
from marquee.bundle.publishing import publish, publish_copy
from marquee.bundle.releases import activate, resolve
from marquee.errors import BundleError, BundleNotFoundError, ChecksumError, ConfigError, DataError, ShapeError
from marquee.store.files import watching_steps
from marquee.store.signing import SigningKey, TrustedKeys, write_key_pair
from tests.support.bundles import CREATED, make_tiny, publish_tiny


def test_versions_sort_by_the_time_of_their_making(tmp_path: Path) -> None:
    contents = make_tiny().contents
    paths = [publish(contents, tmp_path, "tiny", created=CREATED + second) for second in (0, 1, 100_000)]
    assert [path.name[:16] for path in paths] == ["20231114T221320Z", "20231114T221321Z", "20231116T020000Z"]
    assert sorted(paths) == paths


def test_contents_of_one_second_get_versions_of_their_own(tmp_path: Path) -> None:
    names = {publish(make_tiny(seed).contents, tmp_path, "tiny", created=CREATED).name for seed in (0, 1)}
    assert len(names) == 2


def test_version_is_never_written_twice(tmp_path: Path) -> None:
    first = publish(make_tiny(0).contents, tmp_path, "tiny", created=CREATED, version="v1")
    before = {path.name: path.read_bytes() for path in first.iterdir()}
    with pytest.raises(BundleError, match="bundle tiny v1 exists already"):
        publish(make_tiny(1).contents, tmp_path, "tiny", created=CREATED, version="v1")
    assert {path.name: path.read_bytes() for path in first.iterdir()} == before
    assert sorted(path.name for path in first.parent.iterdir()) == [".lock", "ACTIVATED", "CURRENT", "v1"]


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../up", "a/b", ".hidden", "with space", "line\n", "x" * 129]
)
def test_name_that_is_no_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="the name of a bundle must be"):
        publish_tiny(tmp_path, name)


def test_version_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the version of a bundle must be .* got '\.\./v1'"):
        publish(make_tiny().contents, tmp_path, "tiny", created=CREATED, version="../v1")


def test_second_publisher_is_refused_while_one_is_at_work(tmp_path: Path) -> None:
    published = publish_tiny(tmp_path)
    with (published.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(BundleError, match=r"another process is publishing to .*tiny"):
            publish_tiny(tmp_path, seed=1)
        with pytest.raises(BundleError, match="another process is publishing"):
            activate(published)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_metric_that_has_no_place_in_json_is_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(DataError, match="metrics and config of bundle 'tiny' must be plain, finite JSON"):
        publish_tiny(tmp_path, metrics={"ndcg@10": value})
    assert not list((tmp_path / "tiny").glob("[!.]*"))


def test_full_disk_leaves_the_old_bundle_and_nothing_else(tmp_path: Path) -> None:
    def fill_up(step: str) -> None:
        if step == "write item_vectors.npy":
            raise OSError(28, "No space left on device")

    old = publish_tiny(tmp_path)
    with pytest.raises(OSError, match="No space left"), watching_steps(fill_up):
        publish_tiny(tmp_path, seed=1)
    assert resolve(tmp_path / "tiny") == old
    assert sorted(path.name for path in old.parent.iterdir()) == [".lock", old.name, "ACTIVATED", "CURRENT"]


def test_unfinished_folder_of_a_dead_publisher_is_swept(tmp_path: Path) -> None:
    (tmp_path / "tiny" / ".publishing").mkdir(parents=True)
    (tmp_path / "tiny" / ".publishing" / "item_vectors.npy").write_bytes(b"half")
    assert Bundle.load(publish_tiny(tmp_path)).manifest.name == "tiny"
    assert not (tmp_path / "tiny" / ".publishing").exists()


def test_only_a_published_bundle_is_activated(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFoundError, match=r"holds no manifest\.json"):
        activate(tmp_path)


@pytest.mark.parametrize(
    "field", ["popularity", "user_vectors", "user_features", "interactions", "index", "catalog"]
)
def test_arrays_of_another_model_are_refused(field: str) -> None:
    contents, other = make_tiny().contents, make_tiny(n_items=30, n_users=9).contents
    with pytest.raises(ShapeError, match=r"must have \d+ rows for \d+ users and \d+ items, got \d+"):
        replace(contents, **{field: getattr(other, field)})


@pytest.mark.parametrize("value", [-0.5, np.nan])
def test_impossible_popularity_is_refused(value: float) -> None:
    popularity = make_tiny().contents.popularity.copy()
    popularity[3] = value
    with pytest.raises(
        DataError, match=f"popularity must be finite and 0 or more, got {value} at item_index 3"
    ):
        replace(make_tiny().contents, popularity=popularity)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_bundle_that_is_not_activated_leaves_the_pointer(tmp_path: Path) -> None:
    old = publish_tiny(tmp_path)
    new = publish(make_tiny(1).contents, tmp_path, "tiny", created=CREATED, is_activated=False)
    assert new.is_dir()
    assert resolve(tmp_path / "tiny") == old


def test_copy_is_the_bundle_byte_for_byte(tmp_path: Path) -> None:
    original = publish_tiny(tmp_path / "here")
    copy = publish_copy(original, tmp_path / "there")
    assert copy == tmp_path / "there" / "tiny" / original.name == resolve(tmp_path / "there" / "tiny")
    assert files_of(copy) == files_of(original)
    assert Bundle.load(copy).version == original.name


def test_copy_keeps_its_signature_or_gets_a_new_one(tmp_path: Path) -> None:
    keys = [write_key_pair(tmp_path / name) for name in ("first", "second")]
    signing = [SigningKey.read(private) for private, _ in keys]
    trusted = [TrustedKeys.read(public) for _, public in keys]
    contents = make_tiny().contents
    original = publish(contents, tmp_path / "here", "tiny", created=CREATED, signing_key=signing[0])
    copy = publish_copy(original, tmp_path / "there")
    assert Bundle.load(copy, trusted[0]).version == original.name
    for home in ("there", "elsewhere"):  # once where it is already, once where it is not
        assert Bundle.load(publish_copy(original, tmp_path / home, signing_key=signing[1]), trusted[1])


def test_copy_of_a_damaged_bundle_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    original = publish_tiny(tmp_path / "here")
    (original / "popularity.npy").write_bytes(b"other")
    with pytest.raises(ChecksumError, match=r"popularity\.npy in .* is not what its manifest says"):
        publish_copy(original, tmp_path / "there")
    assert [path.name for path in (tmp_path / "there" / "tiny").iterdir()] == [".lock"]


def test_copy_that_is_there_is_kept_and_activated(tmp_path: Path) -> None:
    first, second = publish_tiny(tmp_path / "here"), publish_tiny(tmp_path / "here", seed=1)
    for original in (first, second, first):
        copy = publish_copy(original, tmp_path / "there")
        assert resolve(tmp_path / "there" / "tiny") == copy
    assert copy.name == first.name


def test_copy_never_replaces_another_bundle_of_its_version(tmp_path: Path) -> None:
    originals = [
        publish(make_tiny(seed).contents, tmp_path / str(seed), "tiny", created=CREATED, version="v1")
        for seed in (0, 1)
    ]
    before = files_of(publish_copy(originals[0], tmp_path / "there"))
    with pytest.raises(BundleError, match="bundle tiny v1 exists already and is another one"):
        publish_copy(originals[1], tmp_path / "there")
    assert files_of(tmp_path / "there" / "tiny" / "v1") == before
