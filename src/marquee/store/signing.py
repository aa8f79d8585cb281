"""Says who published a bundle: an Ed25519 signature of its manifest, which names every byte of the rest.

Receipts of erasures are signed in the same way, with another purpose and a key of their own.

A signature does not say which version is to be served: whoever can write `CURRENT` can go back to any
version that a trusted key has signed.

Source:
    Josefsson and Liusvaara 2017, RFC 8032, "Edwards-Curve Digital Signature Algorithm (EdDSA)", section 5.1.
"""

import base64
import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from marquee.errors import BundleError, ConfigError, SignatureError
from marquee.store.files import read_regular_file

# At run time only where a key is used: an unsigned bundle loads without this library.
if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SIGNATURE = "manifest.sig"
_ALGORITHM = "ed25519"
# Signed along, so that a signature of ours means nothing for anything else that the key may sign.
_BUNDLE_PURPOSE = b"marquee bundle manifest\n"
RECEIPT_PURPOSE = b"marquee erasure receipt\n"
"""The purpose of the signatures of receipts."""

_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----\n?", re.DOTALL)
# A name to find the key by and no proof: the whole key verifies the signature.
_KEY_ID_DIGITS = 16


class Signature(msgspec.Struct, frozen=True):
    """A signature and the key that made it; `signature` is base64."""

    algorithm: str
    key_id: str
    signature: str


class SigningKey:
    """A private key that signs manifests.

    Attributes:
        key_id: Tells which public key belongs to it.
    """

    def __init__(self, private: "Ed25519PrivateKey") -> None:
        self._private = private
        self.key_id = _key_id(private.public_key())

    @classmethod
    def read(cls, path: Path | str) -> "SigningKey":
        """Returns the key in a PEM file.

        Raises:
            ConfigError: If there is none, or others than its owner can read it.
        """
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            # As ssh demands: a key that others can read signs for them too.
            if Path(path).stat().st_mode & 0o077:
                raise ConfigError(
                    f"the private key {path} can be read by others than its owner; chmod 600 it"
                )
            key = load_pem_private_key(Path(path).read_bytes(), password=None)
        except (OSError, ValueError, TypeError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(
                f"the signing key must be an Ed25519 private key in PEM without a password, got {path}: "
                f"{error}; make one with `python -m training.make_key`"
            ) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigError(f"the signing key must be Ed25519, got {type(key).__name__} in {path}")
        return cls(key)

    def sign(self, manifest: bytes) -> bytes:
        """Returns the content of the signature file of a manifest."""
        return msgspec.json.encode(self.signature(manifest, _BUNDLE_PURPOSE)) + b"\n"

    def signature(self, content: bytes, purpose: bytes) -> Signature:
        """Returns the signature of some bytes for a purpose."""
        signature = base64.b64encode(self._private.sign(purpose + content)).decode()
        return Signature(_ALGORITHM, self.key_id, signature)


class TrustedKeys:
    """The public keys of those who may publish.

    Args:
        keys: By their id.
    """

    def __init__(self, keys: Mapping[str, "Ed25519PublicKey"]) -> None:
        self._keys = dict(keys)

    @classmethod
    def read(cls, path: Path | str) -> "TrustedKeys":
        """Returns the keys in a file of one or more PEM blocks, one after the other.

        Raises:
            ConfigError: If there is none, or one is not Ed25519.
        """
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        try:
            # Several, so that a key can be exchanged: the new one is trusted before the old one is taken out.
            keys = [load_pem_public_key(block) for block in _PEM.findall(Path(path).read_bytes())]
        except (OSError, ValueError) as error:
            raise ConfigError(f"trusted keys must be public keys in PEM, got {path}: {error}") from error
        if not keys or not all(isinstance(key, Ed25519PublicKey) for key in keys):
            raise ConfigError(
                f"trusted keys must be one or more Ed25519 public keys in PEM, got "
                f"{[type(key).__name__ for key in keys]} in {path}; make a pair with "
                "`python -m training.make_key`"
            )
        return cls({_key_id(key): key for key in keys if isinstance(key, Ed25519PublicKey)})

    def verify(self, folder: Path, manifest: bytes) -> None:
        """Raises SignatureError unless one of the keys has signed the manifest of a bundle.

        Args:
            folder: Of the bundle, where the signature lies.
            manifest: Its manifest, byte for byte.
        """
        if not os.path.lexists(folder / SIGNATURE):
            raise SignatureError(
                f"the bundle in {folder} is not signed, expected a signature of one of {sorted(self._keys)}; "
                "publish it with a signing key"
            )
        try:
            found = msgspec.json.decode(read_regular_file(folder / SIGNATURE), type=Signature)
        except (BundleError, ValueError) as error:
            raise SignatureError(
                f"{SIGNATURE} in {folder} is no signature ({error!r}); sign the bundle again"
            ) from error
        self.verify_content(manifest, found, _BUNDLE_PURPOSE, f"the bundle in {folder}")

    def verify_content(self, content: bytes, found: Signature, purpose: bytes, name: str) -> None:
        """Raises SignatureError unless one of the keys has signed some bytes.

        Args:
            content: The bytes.
            found: What is said to be their signature.
            purpose: Signed along.
            name: What it is, for the error.
        """
        from cryptography.exceptions import InvalidSignature

        # The algorithm is ours to say: a file that could choose one could choose a weaker one.
        if found.key_id not in self._keys or found.algorithm != _ALGORITHM:
            raise SignatureError(
                f"{name} is signed by the {found.algorithm} key {found.key_id[:64]!r}, expected {_ALGORITHM} "
                f"and one of {sorted(self._keys)}; have it signed with a trusted key"
            )
        try:
            self._keys[found.key_id].verify(
                base64.b64decode(found.signature, validate=True), purpose + content
            )
        # A ValueError of base64: what is no signature does not verify either.
        except (InvalidSignature, ValueError) as error:
            raise SignatureError(
                f"the signature of {name} is not that of its content: it was signed as something else, or "
                "forged; have it signed again"
            ) from error


def write_key_pair(path: Path) -> tuple[Path, Path]:
    """Makes a key pair; returns where the private and the public key lie, `path` and `path`.pub.

    Raises:
        ConfigError: If one of the files exists: a key is never overwritten.
        OSError: If the disk refuses.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    public_path = path.with_name(f"{path.name}.pub")
    # The public half as well: without it nobody can verify what the private one has signed.
    for existing in (path, public_path):
        if os.path.lexists(existing):
            raise ConfigError(f"{existing} exists, a key is never overwritten; name another file")
    key = Ed25519PrivateKey.generate()
    path.parent.mkdir(parents=True, exist_ok=True)
    # Made with its mode: a chmod afterwards would leave a moment in which others can read it.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public_path.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path, public_path


def _key_id(key: "Ed25519PublicKey") -> str:
    """Returns the name of a public key: the beginning of its hash."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:_KEY_ID_DIGITS]
