"""The journal of loops: one small file, replaced after each step, by which a killed loop goes on.

```
<folder>/loop.json            the last loop that came to an end, and the one that is under way
<folder>/<cutoff>/table/      its training table
<runs>/<data>/loop-<cutoff>/  its run folder
```
"""

import json
import shutil
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

from marquee.core.plain import from_plain
from marquee.errors import ConfigError
from marquee.store.files import announce_step, replace_file

JOURNAL_FILE = "loop.json"


class Outcome(StrEnum):
    """End of a loop."""

    published = "published"
    refused = "refused"


@dataclass(frozen=True, kw_only=True)
class Loop:
    """One way from the log to a release, as far as it has come.

    Attributes:
        cutoff: First second that its table does not hold, since 1970 UTC.
        known: Sequence up to which it knows the log.
        settings: Checksum of its config: a loop of other settings begins anew.
        since: First second that the served release cannot know, since 1970 UTC; 0 if nothing was served, None
            before it was looked up. It stays, whatever is served later: the parts of the split hang on it.
        is_trained: Whether its model is.
        against: Version of the release that it was judged beside; empty if there was none.
        reasons: Why it must not be published; None before it was judged.
        bundle: Version that it was exported as; empty before.
        outcome: How it ended; None while it is under way.
    """

    cutoff: int
    known: int
    settings: str
    since: int | None = None
    is_trained: bool = False
    against: str = ""
    reasons: tuple[str, ...] | None = None
    bundle: str = ""
    outcome: Outcome | None = None


@dataclass(frozen=True, kw_only=True)
class Release:
    """A release that a loop has published.

    Attributes:
        version: Of the bundle.
        run: Folder of its run.
        cutoff: Of its table: later events are new to it.
    """

    version: str
    run: str
    cutoff: int


@dataclass(frozen=True, kw_only=True)
class Journal:
    """The loops of one channel.

    Attributes:
        last: The one that ended last.
        current: The one that is under way.
        release: The last one that was published.
    """

    last: Loop | None = None
    current: Loop | None = None
    release: Release | None = None

    @classmethod
    def read(cls, folder: Path) -> "Journal":
        """Reads the journal of a folder; an empty one if there is none.

        Raises:
            ConfigError: If the file holds anything else.
        """
        path = folder / JOURNAL_FILE
        if not path.exists():
            return cls()
        text = path.read_bytes()
        try:
            # JSONDecodeError is a ValueError, as what `from_plain` raises is.
            return from_plain(json.loads(text), cls)
        except ValueError as error:
            raise ConfigError(
                f"{path} must hold how far the loop came, got {text[:100]!r} ({error}); put back the file, "
                "or remove it to begin anew"
            ) from error

    def write(self, folder: Path) -> None:
        """Replaces the journal of a folder, at once and forced to disk."""
        replace_file(folder / JOURNAL_FILE, json.dumps(asdict(self), indent=1).encode())

    def ended(self, outcome: Outcome, run: Path) -> "Journal":
        """Returns the journal after the loop under way has ended."""
        assert self.current is not None, "a loop must be under way to end"
        last = replace(self.current, outcome=outcome)
        is_out = outcome is Outcome.published
        # A refused loop leaves the release that the next one starts from as it is.
        release = Release(version=last.bundle, run=str(run), cutoff=last.cutoff) if is_out else self.release
        return Journal(last=last, release=release)


def sweep(folder: Path, cutoff: int) -> None:
    """Removes the tables of other loops than that of a cutoff."""
    for table in folder.iterdir():
        # The last table stays: the config of its run names it as the data.
        if table.is_dir() and table.name != str(cutoff):
            announce_step(f"remove the table of {table.name}")
            shutil.rmtree(table)
