"""Bundles come from folders, web servers and object storage, whole and verified, or not at all."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote

import pytest

from marquee.bundle.bundle import Bundle
from marquee.bundle.manifest import MANIFEST
from marquee.bundle.mirroring import ASIDE, Origin, mirror
from marquee.bundle.releases import resolve
from marquee.errors import BundleError, BundleNotFoundError, ChecksumError, ConfigError, SignatureError
from marquee.store.files import watching_steps
from marquee.store.signing import SigningKey, TrustedKeys, write_key_pair
from serving.mirror.__main__ import main
from serving.mirror.amazon_signature import Credentials, signed_headers
from serving.mirror.origins import FolderOrigin, open_origin
from tests.support.bundles import publish_tiny

MOMENT = "20130524T000000Z"
KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "AWS_SESSION_TOKEN": "one that ends",
}
LARGE = "item_vectors.npy"


class Storage(BaseHTTPRequestHandler):
    """Serves a folder as its class says."""

    root = Path()
    knows_ranges = True
    cut: str = LARGE
    cut_after: int | None = None
    who: Credentials | None = None
    asked: list[tuple[str, str]]

    def do_GET(self) -> None:
        """Answers with a file, or the rest of it."""
        name, wanted = unquote(self.path).lstrip("/"), self.headers.get("Range", "")
        self.asked.append((Path(name).name, wanted))
        path = self.root / name
        if self.who is not None and self.headers.get("Authorization") != self._signed(wanted):
            self.send_error(403)
        elif not path.is_file():
            self.send_error(404)
        else:
            content = path.read_bytes()
            is_rest = bool(wanted) and self.knows_ranges
            rest = content[int(wanted[len("bytes=") : -1]) :] if is_rest else content
            self.send_response(206 if is_rest else 200)
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            is_cut = path.name == self.cut and self.cut_after is not None
            self.wfile.write(rest[: self.cut_after] if is_cut else rest)

    def _signed(self, wanted: str) -> str:
        """Returns the signature that a request for this path must bear."""
        assert self.who is not None, "expected credentials"
        headers = {"Range": wanted} if wanted else {}
        host = self.headers["Host"]
        return signed_headers(host, unquote(self.path), headers, self.who, "us-east-1", MOMENT)[
            "Authorization"
        ]

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@contextmanager
def serving(folder: Path, **settings: object) -> Iterator[tuple[str, type[Storage]]]:
    """Yields the address of a server of a folder, and its settings."""
    handler = type("Handler", (Storage,), {"root": folder, "asked": [], **settings})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", handler
        finally:
            server.shutdown()
            thread.join()


def opened(address: str, variables: Mapping[str, str] | None = None) -> Origin:
    """Returns the reader of an address."""
    return open_origin(address, variables or {}, lambda: MOMENT)


def content_of(folder: Path) -> dict[str, bytes]:
    """Returns the files of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Returns a published bundle."""
    return publish_tiny(tmp_path / "origin")


@pytest.mark.parametrize("address", ["{}", "file://{}"])
def test_bundle_of_a_folder_comes_byte_for_byte(published: Path, tmp_path: Path, address: str) -> None:
    home = tmp_path / "here"
    bundle, is_new = mirror(opened(address.format(published.parent)), home)
    assert (bundle, is_new) == (home / published.name, True)
    assert content_of(bundle) == content_of(published)
    assert Bundle.load(home).version == published.name
    assert not list(home.glob(f"{ASIDE}*"))
    assert mirror(FolderOrigin(published.parent), home) == (bundle, False)


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_what_was_cut_off_goes_on_where_it_stopped(
    published: Path, tmp_path: Path, knows_ranges: bool
) -> None:
    home, n_bytes = tmp_path / "here", 100
    with serving(published.parent, cut_after=n_bytes, knows_ranges=knows_ranges) as (address, storage):
        with pytest.raises(BundleError, match=f"{LARGE}.*goes on from there"):
            mirror(opened(address), home)
        with pytest.raises(BundleNotFoundError):
            resolve(home)
        assert (home / ASIDE / published.name / LARGE).stat().st_size == n_bytes
        storage.cut_after = None
        storage.asked.clear()
        bundle, _ = mirror(opened(address), home)
    assert content_of(bundle) == content_of(published)
    assert (LARGE, f"bytes={n_bytes}-") in storage.asked
    # What had come whole is not asked for again.
    assert "users.npy" not in [name for name, _ in storage.asked]
    files = [name for name, _ in storage.asked]
    assert len(files) == len(set(files))


@pytest.mark.parametrize("name", ["CURRENT", MANIFEST])
def test_short_answer_of_a_small_file_is_told(published: Path, tmp_path: Path, name: str) -> None:
    with (
        serving(published.parent, cut=name, cut_after=5) as (address, _),
        pytest.raises(BundleError, match=f"{name} cannot be read: IncompleteRead"),
    ):
        mirror(opened(address), tmp_path / "here")


def test_wrong_bytes_of_an_earlier_try_are_fetched_again(published: Path, tmp_path: Path) -> None:
    home = tmp_path / "here"
    aside = home / ASIDE / published.name
    aside.mkdir(parents=True)
    (aside / LARGE).write_bytes(b"wrong")
    bundle, _ = mirror(FolderOrigin(published.parent), home)
    assert content_of(bundle) == content_of(published)


def _turn(path: Path) -> None:
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def _lengthen(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b"x")


@pytest.mark.parametrize("damage", [_turn, _lengthen])
def test_damaged_bundle_is_refused_and_the_old_one_stays(
    published: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    home = tmp_path / "here"
    first, _ = mirror(FolderOrigin(published.parent), home)
    second = publish_tiny(tmp_path / "origin", seed=1)
    damage(second / LARGE)
    with pytest.raises(ChecksumError, match=f"{LARGE} of the origin has .* expected"):
        mirror(FolderOrigin(published.parent), home)
    assert resolve(home) == first
    assert not (home / second.name).exists()


def test_bundle_that_nobody_vouches_for_is_refused_before_it_is_copied(
    published: Path, tmp_path: Path
) -> None:
    home, theirs, ours = tmp_path / "here", tmp_path / "theirs", tmp_path / "ours"
    write_key_pair(theirs)
    write_key_pair(ours)
    trusted = TrustedKeys.read(ours.with_suffix(".pub"))
    with pytest.raises(SignatureError, match="not signed"):
        mirror(FolderOrigin(published.parent), home, trusted=trusted)
    signed = publish_tiny(tmp_path / "signed", signing_key=SigningKey.read(theirs))
    with pytest.raises(SignatureError):
        mirror(FolderOrigin(signed.parent), home, trusted=trusted)
    assert not list(home.rglob(LARGE))
    proved = publish_tiny(tmp_path / "proved", signing_key=SigningKey.read(ours))
    bundle, _ = mirror(FolderOrigin(proved.parent), home, trusted=trusted)
    assert Bundle.load(bundle, trusted).version == proved.name


def test_version_that_is_another_bundle_is_refused(published: Path, tmp_path: Path) -> None:
    home = tmp_path / "here"
    mirror(FolderOrigin(published.parent), home)
    other = publish_tiny(tmp_path / "other", seed=1)
    other.rename(other.parent / published.name)
    (other.parent / "CURRENT").write_text(published.name)
    with pytest.raises(BundleError, match="of the origin is another one"):
        mirror(FolderOrigin(other.parent), home)
    with pytest.raises(BundleError, match="is of version"):
        mirror(FolderOrigin(other.parent), tmp_path / "new")


@pytest.mark.parametrize("current", ["../secret", "", "a/b"])
def test_pointer_that_leaves_its_folder_is_refused(published: Path, tmp_path: Path, current: str) -> None:
    (published.parent / "CURRENT").write_text(current)
    with pytest.raises(ConfigError, match="the version that CURRENT of the origin names"):
        mirror(FolderOrigin(published.parent), tmp_path / "here")


def test_latest_versions_stay_and_older_ones_go(tmp_path: Path) -> None:
    home, versions = tmp_path / "here", []
    for seed in range(4):
        published = publish_tiny(tmp_path / "origin", seed=seed)
        versions.append(published.name)
        mirror(FolderOrigin(published.parent), home, n_kept=2)
    assert sorted(path.parent.name for path in home.glob("*/manifest.json")) == sorted(versions[-2:])
    assert resolve(home).name == versions[-1]


def test_version_whose_deletion_was_cut_off_comes_again_whole(published: Path, tmp_path: Path) -> None:
    home = tmp_path / "here"
    mirror(FolderOrigin(published.parent), home)
    publish_tiny(tmp_path / "origin", seed=1)

    def die(step: str) -> None:
        if step == f"delete {published.name}":
            raise KeyboardInterrupt

    with watching_steps(die), pytest.raises(KeyboardInterrupt):
        mirror(FolderOrigin(published.parent), home, n_kept=1)
    assert not (home / published.name).exists()
    (published.parent / "CURRENT").write_text(published.name)
    bundle, _ = mirror(FolderOrigin(published.parent), home, n_kept=1)
    assert content_of(bundle) == content_of(published)
    assert not (home / ASIDE).exists()


def test_folder_of_another_publisher_is_left_alone(published: Path, tmp_path: Path) -> None:
    own = publish_tiny(tmp_path / "own", seed=1)
    with pytest.raises(BundleError, match="give an empty folder"):
        mirror(FolderOrigin(published.parent), own.parent)
    assert resolve(own.parent) == own


def test_object_storage_is_asked_with_signatures(published: Path, tmp_path: Path) -> None:
    bucket = tmp_path / "storage" / "models" / "shop one"
    shutil.copytree(published.parent, bucket)
    who = Credentials(*KEYS.values())
    with serving(tmp_path / "storage", who=who) as (endpoint, _):
        variables = {**KEYS, "AWS_ENDPOINT_URL": endpoint}
        bundle, _ = mirror(opened("s3://models/shop%20one", variables), tmp_path / "here")
        assert content_of(bundle) == content_of(published)
        with pytest.raises(BundleError, match="403 Forbidden, expected 200 or 206"):
            mirror(
                opened("s3://models/shop one", {**variables, "AWS_SECRET_ACCESS_KEY": "another"}),
                tmp_path / "there",
            )


def test_signature_is_that_of_the_documentation() -> None:
    sent = signed_headers(
        "examplebucket.s3.amazonaws.com",
        "/test.txt",
        {"Range": "bytes=0-9"},
        Credentials(KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"]),
        "us-east-1",
        MOMENT,
    )
    assert sent["Authorization"].endswith(
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ftp://host/x", "from must be a path"),
        ("https://host/x?token=1", "without a query"),
        ("s3://bucket/x", "needs the variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_address_that_cannot_be_read_is_told(address: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        opened(address)


def test_command_says_what_it_did(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "here"
    arguments = [f"from={published.parent}", f"to={home}"]
    assert main(arguments, {}) == 0
    assert f"bundle {home / published.name} is current" in capsys.readouterr().out
    assert main(arguments, {}) == 0
    assert capsys.readouterr().out == ""
    assert main([f"from={tmp_path / 'nowhere'}", f"to={home}"], {}) == 1
    assert "BundleNotFoundError: there is no" in capsys.readouterr().err
    for wrong in (["to=x"], [*arguments, "kept=0"], [*arguments, "evry_s=3"], ["from=s3://b/x", "to=x"]):
        assert main(wrong, {}) == 2
        assert "usage: python -m serving.mirror" in capsys.readouterr().err
