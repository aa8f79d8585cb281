"""A run of customers as a folder that a service reads, with the checksum of each of its files.

```
latest -> 20260301-080000-000    the last run that came to its end
20260301-080000-000/
  manifest.json                  what the run holds, and the checksums
  traits/<trait>.json            what scores the next customer
  forms/<trait>.json             the same of traits that are no probability
  sentiments/<trait>.json        the same of texts
  audiences/<name>.csv           the members
  audiences/<name>.changes.jsonl who came and went since the run before
```

A file that differs from its checksum is not read.
"""

import hashlib
import io
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from marquee.bundle.traits.forms.files import FORMS, NoForm, decode_form
from marquee.bundle.traits.forms.form import Form
from marquee.bundle.traits.forms.text import TextForm, decode_sentiment
from marquee.bundle.traits.pseudonyms import pseudonym, pseudonym_key
from marquee.bundle.traits.trait import FittedTrait, decode_trait
from marquee.errors import BundleError, BundleNotFoundError, BundleVersionError, ChecksumError
from marquee.store.files import FileFacts, read_regular_file, replace_file

RUN_FORMAT = 1
MANIFEST_FILE = "manifest.json"
TRAITS, SENTIMENTS, AUDIENCES = "traits", "sentiments", "audiences"
_VALUES = "traits.parquet"
_COVERED = (
    _VALUES,
    *(f"{folder}/*.json" for folder in (TRAITS, FORMS, SENTIMENTS)),
    *(f"{AUDIENCES}/*.{ending}" for ending in ("csv", "jsonl")),
)


class AudienceFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An audience of a run.

    Attributes:
        size: Its members.
        before: Token of the members of the run before.
        after: Token of the members now: equal for equal members.
        refused: Why its members are told to nobody; empty if they are.
    """

    size: int
    before: str
    after: str
    refused: str = ""


class RunManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A description of a run.

    Attributes:
        name: Of the declaration.
        version: Equal tables, settings and seeds have equal versions.
        started: When the run began, seconds since 1970: who was erased later may stand in its files.
        as_of: Moment up to which things are known, seconds since 1970; None where nothing says it.
        columns: Of the table: a form may hold them, whether a trait reads them or not.
        refused: Trait → why it must not be used.
        audiences: Name → facts.
        files: Path in the folder → size and checksum.
        pseudonyms: Variable of the environment with the key that ids are hashed with; empty for plain ids.
        consent: Column of the table that says what a customer agreed to; empty if there is none.
        format: Of this file.
    """

    name: str
    version: str
    started: int
    as_of: float | None
    columns: list[str]
    refused: dict[str, str]
    audiences: dict[str, AudienceFacts]
    files: dict[str, FileFacts]
    pseudonyms: str = ""
    consent: str = ""
    format: int = RUN_FORMAT


class Member(msgspec.Struct, frozen=True):
    """A member of an audience.

    Attributes:
        user_id: Of whom.
        group: `contact` or `holdout`.
        position: From 1.
    """

    user_id: str
    group: str
    position: int


class MemberChange(msgspec.Struct, frozen=True):
    """A member who came or went: one line of a list of changes.

    Attributes:
        delivery_id: Equal for the same change.
        change: `added` or `removed`.
        user_id: Of whom.
        audience: Of which audience.
        group: `contact` or `holdout`; empty of a removed one.
    """

    delivery_id: str
    change: str
    user_id: str
    audience: str
    group: str = ""


def write_run_manifest(folder: Path, manifest: RunManifest) -> None:
    """Writes the manifest of a run, with the checksums of the files that are there."""
    files = {
        str(path.relative_to(folder)): _facts(path.read_bytes())
        for pattern in _COVERED
        for path in sorted(folder.glob(pattern))
    }
    whole = msgspec.structs.replace(manifest, files=files)
    replace_file(folder / MANIFEST_FILE, msgspec.json.format(msgspec.json.encode(whole)))


def find_run(where: Path) -> Path:
    """Returns the folder of a run; `latest` stands for the one that it names.

    Raises:
        BundleNotFoundError: If nothing is there.
    """
    try:
        # A file on file systems without links.
        named = where.parent / where.read_text(encoding="utf-8").strip() if where.is_file() else where
        return named.resolve(strict=True)
    except (OSError, UnicodeDecodeError) as error:
        raise BundleNotFoundError(
            f"{where} is no run of customers: {error}; name the folder that `python -m training.customers` "
            "wrote, such as runs/customers/churn/latest"
        ) from error


class CustomersRun:
    """A run whose files are what its manifest says.

    Args:
        folder: Of the run, see `find_run`.

    Raises:
        BundleVersionError: If it was written in a format that this release does not read.
        BundleError: If it has no manifest, or one that cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = _read_manifest(folder)

    @classmethod
    def open(cls, where: Path) -> "CustomersRun":
        """Returns a run with every file verified and every trait read.

        Raises:
            BundleError: If a file is missing, differs from its checksum, or is no trait that can score.
            ConfigError: If its ids are hashed and the key is not in the environment.
        """
        run = cls(find_run(where))
        for name in run.manifest.files:
            run.read(name)
        for trait in run.traits.values():
            _prove(trait, run.folder)
        for form in run.forms.values():
            if not isinstance(form, NoForm):
                form.warm()
        _ = run.key  # a run under pseudonyms whose key is not there tells of nobody
        return run

    @property
    def name(self) -> str:
        """Name of the folder: later runs of the same declaration have later ones."""
        return self.folder.name

    @cached_property
    def traits(self) -> Mapping[str, FittedTrait]:
        """The fitted traits, by name."""
        found = (name for name in self.manifest.files if name.startswith(f"{TRAITS}/"))
        read = (decode_trait(self.read(name), self.folder / name) for name in found)
        return {trait.name: trait for trait in read}

    @cached_property
    def forms(self) -> Mapping[str, Form | NoForm]:
        """The forms, by the name of the trait; of a trait that no form can score the reason."""
        found: dict[str, Form | NoForm] = dict(self.traits)
        for name in self.manifest.files:
            path = self.folder / name
            if name.startswith(f"{FORMS}/"):
                found[path.stem] = decode_form(self.read(name), path)
            elif name.startswith(f"{SENTIMENTS}/"):
                model = decode_sentiment(self.read(name), path)
                found[path.stem] = TextForm(path.stem, model, self.manifest.as_of)
        return found

    def read(self, name: str) -> bytes:
        """Returns the content of a file.

        Args:
            name: Path in the folder, as the manifest has it.

        Raises:
            ChecksumError: If it differs from the manifest.
            BundleError: If it cannot be read.
        """
        content = read_regular_file(self.folder / name)
        expected = self.manifest.files[name]
        if _facts(content) != expected:
            raise ChecksumError(
                f"{self.folder / name} must have {expected.bytes} bytes of the checksum {expected.sha256}, "
                f"got {len(content)} others; run `python -m training.customers` again"
            )
        return content

    def traits_of(self, user_id: str) -> dict[str, object] | None:
        """Returns the traits of a customer, None for nobody.

        Args:
            user_id: As the table has it.
        """
        name = pseudonym(user_id, self.key) if self.key else user_id
        found = self.values.filter(pl.col("user_id") == name)
        return found.drop("user_id").row(0, named=True) if found.height else None

    @cached_property
    def values(self) -> pl.DataFrame:
        """The traits of all customers, with `user_id`; no rows of a run that computed none."""
        if _VALUES not in self.manifest.files:
            return pl.DataFrame(schema={"user_id": pl.String})
        return pl.read_parquet(io.BytesIO(self.read(_VALUES)))

    @cached_property
    def key(self) -> bytes:
        """The key that ids are hashed with, empty for plain ids; raises ConfigError where it is not set."""
        return pseudonym_key(self.manifest.pseudonyms)

    def members(self, audience: str) -> tuple[Member, ...]:
        """Returns the members in their order; none of an audience that was refused."""
        file = f"{AUDIENCES}/{audience}.csv"
        if file not in self.manifest.files:
            return ()
        rows = pl.read_csv(io.BytesIO(self.read(file)), infer_schema=False)
        columns = (rows[name].to_list() for name in ("user_id", "group", "position"))
        return tuple([Member(one, group, int(place)) for one, group, place in zip(*columns, strict=True)])

    def changes(self, audience: str) -> Sequence[MemberChange]:
        """Returns who came and went since the run before."""
        content = self.read(f"{AUDIENCES}/{audience}.changes.jsonl")
        return msgspec.json.decode(b"[" + b",".join(content.splitlines()) + b"]", type=list[MemberChange])

    def changes_since(self, audience: str, token: str) -> Sequence[MemberChange] | None:
        """Returns who came and went since the members had a token, the last change of each of them.

        Walks back through the runs that lie beside this one.

        Args:
            audience: Its name.
            token: `AudienceFacts.after` of then.

        Returns:
            None where no run that is kept, and can be read, began at the token.
        """
        facts = self.manifest.audiences[audience]
        if token == facts.after:
            return []
        found = list(self.changes(audience))
        if token == facts.before:
            return found
        start = facts.before
        for folder in _runs_before(self.folder):
            try:
                earlier = CustomersRun(folder)
                own = earlier.manifest.audiences.get(audience)
                if own is None or own.after != start:
                    return None
                found = [*earlier.changes(audience), *found]
            except BundleError:  # of another format, or half deleted: this run answers all the same
                return None
            if own.before == token:
                last = {change.user_id: place for place, change in enumerate(found)}
                # Who came and went again need not be named as come: they may be erased.
                return [change for place, change in enumerate(found) if last[change.user_id] == place]
            start = own.before
        return None


def _runs_before(folder: Path) -> list[Path]:
    """Returns the runs beside one that came before it, the latest first."""
    beside = [
        path.parent for path in folder.parent.glob(f"*/{MANIFEST_FILE}") if not path.parent.is_symlink()
    ]
    return sorted((path for path in beside if path.name < folder.name), reverse=True)


def _read_manifest(folder: Path) -> RunManifest:
    """Returns the manifest of a run."""
    path = folder / MANIFEST_FILE
    if not path.exists():
        raise BundleNotFoundError(
            f"{folder} is no run of customers that can be served, it has no {MANIFEST_FILE}; run "
            "`python -m training.customers` of this release again"
        )
    try:
        content = read_regular_file(path)
        written = msgspec.json.decode(content, type=_Written).format
        if written != RUN_FORMAT:
            raise BundleVersionError(
                f"{path} has format {written}, this release reads {RUN_FORMAT}; run "
                "`python -m training.customers` of this release again"
            )
        manifest = msgspec.json.decode(content, type=RunManifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BundleError(f"{path} is no manifest of a run: {error}; run it again") from error
    for name in manifest.files:
        # A path that leads out of the folder would have foreign files read.
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise BundleError(f"{path} must name files of its folder, got {name!r}; run it again")
    return manifest


def _prove(trait: FittedTrait, folder: Path) -> None:
    """Scores a customer of whom nothing is known; raises BundleError if no probability comes of it."""
    try:
        said = trait.score_rows([{column.name: None for column in trait.columns}]).probability
    except (ValueError, IndexError) as error:
        raise BundleError(
            f"the trait {trait.name} of {folder} cannot score: {error}; run it again"
        ) from error
    if said.shape != (1,) or not np.isfinite(said).all():
        raise BundleError(f"the trait {trait.name} of {folder} scores {said.tolist()}; run it again")


def _facts(content: bytes) -> FileFacts:
    """Returns size and checksum of some content."""
    return FileFacts(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))


class _Written(msgspec.Struct):
    """The one field that every format has."""

    format: int
