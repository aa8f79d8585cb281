"""A bundle is taken from those who are trusted, and from nobody else."""

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from marquee.bundle.bundle import Bundle
from marquee.bundle.publishing import publish, sign
from marquee.errors import ConfigError, SignatureError
from marquee.store.signing import SigningKey, TrustedKeys, write_key_pair
from tests.support.bundles import CREATED, make_tiny, publish_tiny


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pairs `ours` and `theirs`."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ours", "theirs"):
        write_key_pair(folder / name)
    return folder


@pytest.fixture
def signed(keys: Path, tmp_path: Path) -> Path:
    key = SigningKey.read(keys / "ours")
    return publish(make_tiny().contents, tmp_path, "tiny", created=CREATED, signing_key=key)


@pytest.fixture
def trusted(keys: Path) -> TrustedKeys:
    return TrustedKeys.read(keys / "ours.pub")


def test_bundle_of_a_trusted_key_is_loaded(signed: Path, trusted: TrustedKeys) -> None:
    assert Bundle.load(signed, trusted).version == signed.name
    assert Bundle.load(signed).version == signed.name


def test_one_of_several_trusted_keys_is_enough(signed: Path, keys: Path, tmp_path: Path) -> None:
    both = tmp_path / "both.pub"
    both.write_bytes((keys / "theirs.pub").read_bytes() + (keys / "ours.pub").read_bytes())
    assert Bundle.load(signed, TrustedKeys.read(both)).version == signed.name


def test_unsigned_bundle_is_refused(tmp_path: Path, trusted: TrustedKeys) -> None:
    with pytest.raises(SignatureError, match="is not signed, expected a signature of one of"):
        Bundle.load(publish_tiny(tmp_path), trusted)


def test_published_bundle_can_be_signed_later(tmp_path: Path, keys: Path, trusted: TrustedKeys) -> None:
    bundle = publish_tiny(tmp_path)
    sign(bundle, SigningKey.read(keys / "theirs"))
    with pytest.raises(SignatureError, match="is signed by the ed25519 key"):
        Bundle.load(bundle, trusted)
    sign(bundle, SigningKey.read(keys / "ours"))
    assert Bundle.load(bundle, trusted).version == bundle.name


def changed(file: Path, **fields: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def link(file: Path, target: Path) -> None:
    file.unlink()
    file.symlink_to(target)


FORGERIES: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "of another bundle": (
        lambda bundle, other: (bundle / "manifest.sig").write_bytes((other / "manifest.sig").read_bytes()),
        "is not that of its content",
    ),
    "manifest of another bundle": (
        lambda bundle, other: (bundle / "manifest.json").write_bytes((other / "manifest.json").read_bytes()),
        "is not that of its content",
    ),
    "no JSON": (lambda bundle, _: (bundle / "manifest.sig").write_bytes(b"\xff"), "is no signature"),
    "no base64": (
        lambda bundle, _: changed(bundle / "manifest.sig", signature="*"),
        "is not that of its content",
    ),
    "empty": (
        lambda bundle, _: changed(bundle / "manifest.sig", signature=""),
        "is not that of its content",
    ),
    "other algorithm": (
        lambda bundle, _: changed(bundle / "manifest.sig", algorithm="none"),
        "is signed by the none key",
    ),
    "link": (
        lambda bundle, other: link(bundle / "manifest.sig", other / "manifest.sig"),
        "must be a regular file",
    ),
}


@pytest.mark.parametrize("how", FORGERIES)
def test_forged_signature_is_refused(
    signed: Path, trusted: TrustedKeys, keys: Path, tmp_path: Path, how: str
) -> None:
    forge, message = FORGERIES[how]
    key = SigningKey.read(keys / "ours")
    contents = make_tiny(1).contents
    forge(signed, publish(contents, tmp_path, "other", created=CREATED, signing_key=key))
    with pytest.raises(SignatureError, match=message):
        Bundle.load(signed, trusted)


def test_private_key_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    private, public = write_key_pair(tmp_path / "new" / "key")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert public == tmp_path / "new" / "key.pub"
    private.chmod(0o644)
    with pytest.raises(ConfigError, match="can be read by others than its owner; chmod 600"):
        SigningKey.read(private)


def test_key_is_never_overwritten(keys: Path) -> None:
    before = (keys / "ours").read_bytes()
    with pytest.raises(ConfigError, match="exists, a key is never overwritten"):
        write_key_pair(keys / "ours")
    assert (keys / "ours").read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_file_that_is_no_key_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
        path.chmod(0o600)
    with pytest.raises(ConfigError, match="the signing key must be an Ed25519 private key in PEM"):
        SigningKey.read(path)
    with pytest.raises(ConfigError, match="trusted keys must be"):
        TrustedKeys.read(path)


def test_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    key = generate_private_key(public_exponent=65537, key_size=2048)
    (tmp_path / "rsa").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (tmp_path / "rsa").chmod(0o600)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "rsa.pub").write_bytes(public)
    with pytest.raises(ConfigError, match="the signing key must be Ed25519, got RSAPrivateKey"):
        SigningKey.read(tmp_path / "rsa")
    with pytest.raises(ConfigError, match=r"one or more Ed25519 public keys in PEM, got \['RSAPublicKey'\]"):
        TrustedKeys.read(tmp_path / "rsa.pub")
