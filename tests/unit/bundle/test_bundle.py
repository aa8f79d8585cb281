"""A bundle is read as it was published, and not at all if one byte has changed."""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from marquee.bundle.bundle import Bundle
from marquee.bundle.manifest import FILES, INDEX_FILE, MANIFEST, Manifest
from marquee.bundle.publishing import publish
from marquee.bundle.releases import activate, resolve
from marquee.errors import BundleError, BundleNotFoundError, BundleVersionError, ChecksumError
from marquee.index.faiss_index import IndexConfig, IndexKind
from marquee.store.files import FileFacts
from tests.support.bundles import CREATED, KINDS, N_ITEMS, N_USERS, make_tiny, publish_tiny

ALL_FILES = (*FILES, INDEX_FILE, MANIFEST)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a bundle with an ANN index, so that it has every file there can be."""
    contents = make_tiny(index=IndexConfig(kind=IndexKind.sq8)).contents
    return publish(contents, tmp_path_factory.mktemp("bundles"), "tiny", created=CREATED)


@pytest.fixture
def folder(published: Path, tmp_path: Path) -> Path:
    """A copy of the bundle that a test may damage."""
    return Path(shutil.copytree(published, tmp_path / published.name))


@pytest.fixture
def changed(folder: Path) -> Callable[[str, bytes], Path]:
    """Replaces a file and corrects the manifest, as a faulty publisher would."""

    def change(name: str, content: bytes) -> Path:
        (folder / name).write_bytes(content)
        facts = FileFacts(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
        rewrite_files(folder, {name: facts})
        return folder

    return change


def rewrite_files(folder: Path, facts: dict[str, FileFacts]) -> None:
    """Writes the manifest anew, with other facts about some files."""
    manifest = Manifest.from_json((folder / MANIFEST).read_bytes())
    changed = replace(manifest, files={**manifest.files, **facts})
    (folder / MANIFEST).write_text(changed.to_json(), encoding="utf-8")


def npy(array: npt.NDArray[np.generic]) -> bytes:
    """Returns the bytes of an array's file."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_bundle_holds_what_was_published(published: Path) -> None:
    contents, bundle = make_tiny(index=IndexConfig(kind=IndexKind.sq8)).contents, Bundle.load(published)
    for name in ("user_vectors", "popularity"):
        assert getattr(bundle, name).tolist() == getattr(contents, name).tolist()
    assert bundle.index.item_vectors.tolist() == contents.index.item_vectors.tolist()
    assert (bundle.user_ids, bundle.catalog.item_ids) == (contents.user_ids, contents.catalog.item_ids)
    assert (bundle.query_features, bundle.item_features) == (contents.query_features, contents.item_features)
    assert bundle.user_features.tokens.tolist() == contents.user_features.tokens.tolist()
    assert bundle.query_tower.inputs == bundle.manifest.query_inputs


def test_manifest_states_the_facts(published: Path) -> None:
    manifest = Bundle.load(published).manifest
    assert (manifest.name, manifest.version, manifest.created) == ("tiny", published.name, CREATED)
    assert (manifest.n_items, manifest.n_users, manifest.dim) == (N_ITEMS, N_USERS, 4)
    assert (manifest.kinds, manifest.metrics) == (KINDS, {"ndcg@10": 0.25})
    assert (manifest.config["seed"], manifest.index.config.kind) == (0, IndexKind.sq8)
    assert manifest.index.recall == 1.0
    assert manifest.index.reason == "measured by hand"
    assert manifest.index.sweeps[0].chosen_point.recall == 0.75


def test_stored_histories_leave_out_the_unknown_user(published: Path) -> None:
    bundle, interactions = Bundle.load(published), make_tiny().contents.interactions
    assert bundle.history_offsets[1] == 0 < interactions.offsets[1]
    assert bundle.history_items.tolist() == interactions.item_index[interactions.offsets[1] :].tolist()
    assert bundle.history_kinds.tolist() == interactions.kind_index[interactions.offsets[1] :].tolist()


def test_large_arrays_are_mapped_and_cannot_be_written(published: Path) -> None:
    vectors = Bundle.load(published).index.item_vectors
    assert not vectors.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        vectors[0, 0] = 1.0


@pytest.mark.parametrize("name", ALL_FILES)
def test_one_changed_byte_is_refused_with_the_name_of_its_file(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    for position in np.linspace(0, len(content) - 1, 9, dtype=int):
        damaged = bytearray(content)
        damaged[position] ^= 1
        (folder / name).write_bytes(damaged)
        with pytest.raises(BundleError, match=name):
            Bundle.load(folder)


@pytest.mark.parametrize("name", ALL_FILES)
def test_cut_missing_or_linked_file_is_refused_with_its_name(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1])
    with pytest.raises(BundleError, match=name):
        Bundle.load(folder)
    (folder / name).unlink()
    with pytest.raises(BundleError, match=name):
        Bundle.load(folder)
    (folder / "elsewhere").write_bytes(content)
    (folder / name).symlink_to("elsewhere")
    with pytest.raises(BundleError, match=f"{name} must be a regular file"):
        Bundle.load(folder)


def test_entry_that_is_no_file_is_refused(folder: Path) -> None:
    (folder / "popularity.npy").unlink()
    os.mkfifo(folder / "popularity.npy")
    with pytest.raises(BundleError, match=r"popularity\.npy must be a regular file .* another kind of entry"):
        Bundle.load(folder)


def test_no_byte_of_the_manifest_can_change(published: Path) -> None:
    content = (published / MANIFEST).read_bytes()
    for position in range(len(content)):
        for damaged in (
            content[:position] + content[position + 1 :],
            content[:position] + b" " + content[position:],
        ):
            with pytest.raises(BundleError, match=r"manifest\.json"):
                Manifest.from_json(damaged)


def test_manifest_with_another_value_is_refused(folder: Path) -> None:
    text = (folder / MANIFEST).read_text(encoding="utf-8").replace('"ndcg@10": 0.25', '"ndcg@10": 0.52')
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    with pytest.raises(ChecksumError, match=r"manifest\.json has SHA-256 .* changed after it was written"):
        Bundle.load(folder)


@pytest.mark.parametrize("version", [0, 1, 7, "2", None])
def test_other_format_version_is_refused(folder: Path, version: object) -> None:
    body = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    (folder / MANIFEST).write_text(json.dumps({**body, "format_version": version}), encoding="utf-8")
    with pytest.raises(
        BundleVersionError, match=f"format_version {version!r}, this release reads 2, 3, 4, 5 and 6"
    ):
        Bundle.load(folder)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"format_version": 2'])
def test_text_that_is_no_manifest_is_refused(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    with pytest.raises(BundleError, match=r"manifest\.json is no manifest"):
        Bundle.load(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("item_vectors.npy", npy(np.zeros((N_ITEMS, 4), np.float32)), r"says \(24, 4\), expected \(25, 4\)"),
        ("item_vectors.npy", npy(np.zeros((N_ITEMS + 1, 4))), "says float64, expected float32"),
        ("popularity.npy", npy(np.zeros((N_ITEMS + 1, 1), np.float32)), "says 2, expected 1"),
        ("user_tokens.npy", npy(np.zeros((N_USERS + 1, 9), np.int32)), r"says \(7, 9\), expected \(7, 2\)"),
        ("history_offsets.npy", npy(np.arange(N_USERS + 2)), r"says \(0, 7\), expected \(0, 30\)"),
        ("history_offsets.npy", npy(np.array([0, 9, 3, 4, 5, 6, 7, 30])), "says False, expected True"),
        ("user_ids.json", b'["u1"]', "says 1, expected 6"),
        ("user_ids.json", b'["u1", "u1"]', "ids must be unique"),
        ("user_ids.json", b"{", "cannot be read"),
        ("catalog.parquet", b"PAR1", "cannot be read"),
        ("query_features.json", b"{}", "cannot be read"),
        ("popularity.npy", b"\x93NUMPY", "cannot be read"),
        ("context_items.npy", npy(np.array([N_ITEMS + 1] * 3, np.int32)), "says False, expected True"),
        ("context_shares.npy", npy(np.full(3, np.nan, np.float32)), "says False, expected True"),
        ("context_offsets.npy", npy(np.array([0, 1, 2, 2])), r"says 2, expected 3"),
        ("context_popularity.json", b"{}", "cannot be read"),
        ("query_tower.onnx", b"no graph", "is no graph that onnxruntime can load"),
        (INDEX_FILE, b"no index", "is no index that FAISS can read"),
    ],
)
def test_file_that_is_not_what_it_should_be_is_refused(
    changed: Callable[[str, bytes], Path], name: str, content: bytes, message: str
) -> None:
    with pytest.raises(BundleError, match=f"{name}.*{message}"):
        Bundle.load(changed(name, content))


def test_manifest_without_its_facts_is_refused() -> None:
    body: dict[str, object] = {"format_version": 2}
    checksum = hashlib.sha256((json.dumps(body, indent=1) + "\n").encode()).hexdigest()
    text = json.dumps({**body, "manifest_sha256": checksum}, indent=1) + "\n"
    with pytest.raises(BundleError, match=r"manifest\.json is no manifest: Object missing .* `name`"):
        Manifest.from_json(text.encode())


def test_pickled_array_is_refused(changed: Callable[[str, bytes], Path]) -> None:
    with pytest.raises(BundleError, match=r"popularity\.npy.*(allow_pickle|Python object)"):
        Bundle.load(changed("popularity.npy", npy(np.array([{}] * (N_ITEMS + 1)))))


def test_graph_that_wants_other_inputs_is_refused(changed: Callable[[str, bytes], Path]) -> None:
    tower = make_tiny(inputs=frozenset({"user_vector"})).contents.query_tower
    with pytest.raises(BundleError, match=r"query_tower\.onnx wants inputs \('user_vector',\), expected"):
        Bundle.load(changed("query_tower.onnx", tower))
    with pytest.raises(BundleError, match=r"item_tower\.onnx wants inputs \['user_vector'\], expected only"):
        Bundle.load(changed("item_tower.onnx", tower))


def test_manifest_that_names_other_files_is_refused(folder: Path) -> None:
    rewrite_files(folder, {"../../etc/passwd": FileFacts(sha256="", bytes=0)})
    with pytest.raises(BundleError, match=r"must name the files .* got \['\.\./\.\./etc/passwd'"):
        Bundle.load(folder)


def test_current_names_the_bundle_to_load(tmp_path: Path) -> None:
    old, new = publish_tiny(tmp_path, seed=0), publish_tiny(tmp_path, seed=1)
    assert resolve(tmp_path / "tiny") == new
    activate(old)
    assert Bundle.load(tmp_path / "tiny").version == old.name


@pytest.mark.parametrize(
    "text",
    [b"", b"\n", b"../other", b"/etc", b"a/b", b".hidden", b"v1\n\n", b"v 1", b"v1\0", b"\xff", b"x" * 200],
)
def test_current_that_is_no_version_is_refused(tmp_path: Path, text: bytes) -> None:
    publish_tiny(tmp_path)
    (tmp_path / "tiny" / "CURRENT").write_bytes(text)
    with pytest.raises(BundleError, match="CURRENT must hold one version"):
        Bundle.load(tmp_path / "tiny")


def test_current_that_names_nothing_or_a_link_is_refused(tmp_path: Path) -> None:
    version = publish_tiny(tmp_path)
    (version.parent / "CURRENT").write_text("v2")
    with pytest.raises(BundleNotFoundError, match="CURRENT names version 'v2', which is no bundle beside it"):
        Bundle.load(version.parent)
    (version.parent / "v2").symlink_to(version)
    with pytest.raises(BundleNotFoundError, match="CURRENT names version 'v2'"):
        Bundle.load(version.parent)


def test_folder_without_a_bundle_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFoundError, match=r"holds neither manifest\.json nor CURRENT"):
        Bundle.load(tmp_path)
