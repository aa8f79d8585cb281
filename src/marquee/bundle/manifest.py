"""The manifest: the facts of a bundle, with checksums that prove every byte of it unchanged.

The manifest names every file with its size and SHA-256, and carries the SHA-256 of itself. Decides which
files a bundle has. Leaves to others what is in them (see `bundle`) and how they come to disk (see
`publishing`).
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum

from marquee.bundle.click_counts import CLICK_COUNTS_FILE
from marquee.bundle.clicks.contents import HEAD_FILES
from marquee.bundle.texts.contents import TEXT_FILES
from marquee.bundle.user_ids import USER_ID_FILES
from marquee.core.event_kinds import EventKinds
from marquee.core.plain import from_plain
from marquee.errors import BundleError, BundleVersionError, ChecksumError, ConfigError, DataError
from marquee.index.faiss_index import IndexConfig, IndexKind
from marquee.index.sweep import IndexSweep
from marquee.store.files import FileFacts

FORMAT_VERSION = 6
READ_VERSIONS = (2, 3, 4, 5, FORMAT_VERSION)
"""Formats that are read. Those of 2 do not say until when they know what users did, those before 4 not by
which names they know them: these are the operator's own ids. Those before 5 have no click head, those before
6 no texts to be asked for by words."""

MANIFEST = "manifest.json"
INDEX_FILE = "index.faiss"
GOLDEN_REQUESTS_FILE = "recorded_requests.json"
FILES = (
    "query_tower.onnx",
    "item_tower.onnx",
    "item_vectors.npy",
    "user_vectors.npy",
    "user_ids.json",
    "query_features.json",
    "item_features.json",
    "catalog.parquet",
    "popularity.npy",
    "context_popularity.json",
    "context_offsets.npy",
    "context_items.npy",
    "context_shares.npy",
    "history_offsets.npy",
    "history_items.npy",
    "history_kinds.npy",
    "user_tokens.npy",
    "user_numeric.npy",
    GOLDEN_REQUESTS_FILE,
)
REFERENCE_FILE = "reference.json"
"""Statistics of what the model was judged on, which later logs are held against; no answer needs them."""

CARD_FILES = frozenset({"card.html", "card.md", "card.json"})
"""The card of the model, for people and programs; no answer needs it."""

OPTIONAL_FILES = (
    frozenset({CLICK_COUNTS_FILE, REFERENCE_FILE}) | CARD_FILES | HEAD_FILES | TEXT_FILES | USER_ID_FILES
)
"""Files that only some bundles have: those of counts and heads need a log, or exposures, those of texts a
feature of the items that is a text, those of user ids many users."""

# It becomes a folder: no separator, no leading dot, which marks what is being written.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SAYS_KNOWN_UNTIL = 3
_SELF_CHECKSUM = "manifest_sha256"
_END_OF_TIME = 253_402_300_800  # the year 10000


@dataclass(frozen=True, slots=True)
class IndexFacts:
    """How the items are searched, and how well that was measured to work on these very vectors.

    Attributes:
        config: How the index was built and is searched.
        recall: Share of the exact answer that it finds for the catalog's own users.
        recall_k: Length of the answers compared.
        reason: Why it is this index.
        sweeps: What was measured at other efforts, and of other kinds.
    """

    config: IndexConfig
    recall: float
    recall_k: int
    reason: str = ""
    sweeps: tuple[IndexSweep, ...] = ()


@dataclass(frozen=True, slots=True)
class KnownUntil:
    """Up to where a bundle knows what users did: an event beyond both bounds is new to it.

    Attributes:
        sequence: Of the event log, where the bundle was trained on one; 0 where it was not.
        timestamp: Second since 1970 UTC of the last event, where it was trained on other tables; 0 where it
            was trained on the log.
    """

    sequence: int = 0
    timestamp: int = 0


class UserNames(StrEnum):
    """The names by which a bundle knows its users."""

    ids = "ids"  # the operator's own
    pseudonyms = "pseudonyms"  # those of the store of users


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The facts of one bundle.

    Attributes:
        name: Of the channel that this bundle belongs to.
        version: Of this one.
        created: Seconds since 1970 UTC, as its publisher said.
        dim: Length of an item vector and of a query embedding.
        n_items: Items, without padding.
        n_users: Known users, without the unknown one.
        history_length: The longest history that the query tower is fed.
        has_item_bias: Whether the last coordinate of an item vector is the item's bias.
        kinds: Event kinds that count, and their rows.
        query_inputs: Inputs of the query tower.
        item_inputs: Inputs of the item tower.
        index: How items are searched.
        metrics: What the model reached offline, by name.
        config: The resolved configuration that made the model.
        known_until: Up to where it knows what users did.
        files: Every other file of the bundle.
        users: The names in its file of users.
    """

    name: str
    version: str
    created: int
    dim: int
    n_items: int
    n_users: int
    history_length: int
    has_item_bias: bool
    kinds: EventKinds
    query_inputs: tuple[str, ...]
    item_inputs: tuple[str, ...]
    index: IndexFacts
    metrics: Mapping[str, float]
    config: Mapping[str, object]
    known_until: KnownUntil
    files: Mapping[str, FileFacts]
    users: UserNames = UserNames.ids

    def __post_init__(self) -> None:
        for what in ("name", "version"):
            validate_name(getattr(self, what), f"the {what} in {MANIFEST}")
        if not 0 <= self.created < _END_OF_TIME:
            raise ConfigError(
                f"created in {MANIFEST} must be seconds since 1970 before the year 10000, got "
                f"{str(self.created)[:32]}; publish the bundle again"
            )

    def to_json(self) -> str:
        """Returns the manifest as text, its own checksum included.

        Raises:
            DataError: If a metric or a value of the config has no place in JSON.
        """
        body = {"format_version": FORMAT_VERSION, **asdict(self)}
        # As a config has them, without the name of the field that holds them in our class.
        body["kinds"] = {kind: asdict(config) for kind, config in self.kinds.configs.items()}
        try:
            # Of the text without this field, which cannot hold a checksum of itself.
            checksum = hashlib.sha256(_dump(body)).hexdigest()
        except (TypeError, ValueError) as error:
            raise DataError(
                f"metrics and config of bundle {self.name!r} must be plain, finite JSON, got {error}; "
                "leave the value out"
            ) from error
        return _dump({**body, _SELF_CHECKSUM: checksum}).decode()

    @classmethod
    def from_json(cls, text: bytes) -> "Manifest":
        """Returns the manifest that `to_json` wrote.

        Raises:
            BundleVersionError: If it has another format version.
            ChecksumError: If a byte has changed.
            BundleError: If it is no manifest.
        """
        try:
            body = json.loads(text)
            version = body["format_version"]
            checksum = body.pop(_SELF_CHECKSUM, None)
            # Here as well: numbers and texts that JSON can hold and nobody can write again.
            actual, again = hashlib.sha256(_dump(body)).hexdigest(), _dump({**body, _SELF_CHECKSUM: checksum})
        # RecursionError: brackets nested thousands deep, in a text that nobody has verified yet.
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BundleError(f"{MANIFEST} is no manifest: {error!r}; publish the bundle again") from error
        # Before the checksum: another format is no damage. By type: True is an int to isinstance.
        if type(version) is not int or version not in READ_VERSIONS:
            raise BundleVersionError(
                f"{MANIFEST} has format_version {version!r}, this release reads "
                f"{', '.join(map(str, READ_VERSIONS[:-1]))} and {FORMAT_VERSION}; export the bundle with "
                "this release, or serve it with the one that wrote it"
            )
        # Also byte for byte: two texts of one content must not both be the signed one.
        if checksum != actual or again != text:
            raise ChecksumError(
                f"{MANIFEST} has SHA-256 {actual}, expected {checksum!r}: it was changed after it was "
                "written; publish the bundle again"
            )
        del body["format_version"]
        if (
            version < _SAYS_KNOWN_UNTIL and "created" in body
        ):  # it knows nothing of what came after it was made
            body["known_until"] = {"timestamp": body["created"]}
        if "kinds" in body:
            body["kinds"] = {"configs": body["kinds"]}
        try:
            return from_plain(body, cls)
        except (ValueError, ConfigError) as error:
            raise BundleError(f"{MANIFEST} is no manifest: {error}; publish the bundle again") from error


def expected_files(kind: IndexKind) -> frozenset[str]:
    """Returns the names of all files of a bundle beside the manifest, those of `OPTIONAL_FILES` excepted."""
    return frozenset(FILES) | (frozenset() if kind is IndexKind.flat else {INDEX_FILE})


def validate_name(name: str, what: str) -> None:
    """Raises ConfigError unless a name or version is safe as the name of a folder."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{what} must be up to 128 letters, digits, '.', '_' or '-', beginning with a letter or digit, "
            f"got {name!r}; rename it"
        )


def _dump(body: Mapping[str, object]) -> bytes:
    """Returns the one way in which a manifest is written."""
    # Lines, so that two manifests can be compared by eye; no NaN, which is no JSON.
    return (json.dumps(body, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
