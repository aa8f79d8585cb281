"""`python -m training.loop log=… bundles=…`: from a service's event log to its next release, or a refusal.

```
1. table      what the log holds up to the cutoff
2. train      from the weights of the last release that the loop published
3. judge      beside the release that is served, on the same later events
4. export     verified, signed, written whole
5. publish    made current, unless step 3 says no
```

One loop of a channel works at a time. Each step leaves its result on disk: the same command goes on after
whatever ended it. Exits with 0 if it has published or nothing is new, 3 if the model is refused, 75 if
another loop is at work.
"""

import json
import logging
import sys
import time
from dataclasses import dataclass, field, fields
from hashlib import sha256
from pathlib import Path

from rich.console import Console

from marquee.core.moments import moment_text
from marquee.data.loop.attribution import AttributionConfig
from marquee.data.loop.log_source import last_known
from marquee.data.loop.loop_table import write_loop_table
from marquee.data.split_config import seconds_of
from marquee.index.faiss_index import IndexConfig, IndexKind
from marquee.reports.evidence.card import CardWords
from marquee.store.log.event_log import EventLog
from marquee.store.log.sqlite_file import try_lock
from training.choices import register_schemas
from training.cli.command import EXIT_INTERRUPTED, command
from training.cli.console import open_console
from training.config import TrainConfig, as_plain
from training.dataset import counts_in_words
from training.judging.gate import GateConfig
from training.looping.journal import Journal, Loop, Outcome
from training.looping.log import opened

register_schemas()

# Not 1 or 2: a refusal is a result that a scheduler must tell from a fault.
EXIT_REFUSED = 3
# EX_TEMPFAIL of sysexits.h: try again later.
EXIT_LOCKED = 75
_LOCK = ".lock"


@dataclass(kw_only=True)
class LoopConfig(TrainConfig):
    """A training run on an event log, and what becomes of its model.

    Attributes:
        log: Folder that MARQUEE_EVENTS names, or a `postgresql://` address.
        closed: Folder of the closed days; empty for `closed` in the folder of the log.
        cutoff: First moment that is not read, as seconds or ISO 8601; empty for now.
        beside: Whether the table is read beside the events of `data`, as `data.more_events.log`; else it is
            all of them, in place of `data.root`.
        attribution: How long after an exposure an event counts as having come of it.
        folder: Where tables are written and the journal is kept, for each name of data apart.
        bundles: Folder that bundles of all names are served from.
        signing_key: File of the private key that signs the bundle; empty for a bundle without a signature.
        index: How items are searched.
        gate: What must hold. `against: bundle` is the release that is served, ranked on the same events.
        card: Words of the card that each release carries; all empty for none.
    """

    log: str
    closed: str = ""
    cutoff: str = ""
    beside: bool = False
    attribution: AttributionConfig = field(default_factory=AttributionConfig)
    folder: str = "loop"
    bundles: str = "bundles"
    signing_key: str = ""
    index: IndexConfig = field(default_factory=lambda: IndexConfig(kind=IndexKind.auto))
    gate: GateConfig = field(default_factory=GateConfig)
    card: CardWords = field(default_factory=CardWords)

    @property
    def home(self) -> Path:
        """Where the journal of this channel is kept."""
        return Path(self.folder) / self.data.name

    def trained_alone(self) -> TrainConfig:
        """Returns the training run without what is around it."""
        # The config of a run folder must be one that every other command reads.
        return TrainConfig(**{f.name: getattr(self, f.name) for f in fields(TrainConfig)})

    def checksum(self) -> str:
        """Returns a checksum of all that decides what comes of a log and a cutoff."""
        # A loop under way has its cutoff; a key may be renewed while it is.
        plain = {key: value for key, value in as_plain(self).items() if key not in ("cutoff", "signing_key")}
        return sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()


def loop(config: LoopConfig, now: int, console: Console) -> int:
    """Goes from the log to a release, or on with what was interrupted; returns the exit status.

    Args:
        config: Of the loop.
        now: Seconds since 1970 UTC.
        console: Shows each step.

    Raises:
        MarqueeError: If the log cannot be read, or the config is wrong; the next loop goes on.
    """
    # Before a training that would end without a release: half a card is none.
    if config.card.are_there:
        config.card.validate()
    config.home.mkdir(parents=True, exist_ok=True)
    with try_lock(config.home / _LOCK) as is_alone:
        if not is_alone:
            console.print(f"another loop is at work in {config.home}; wait for it or end it")
            return EXIT_LOCKED
        journal = Journal.read(config.home)
        with opened(config.log, config.closed) as source:
            begun = _begun(journal, config, source.log, now, console)
            if begun is None:
                return 0
            # Before the table: a killed loop goes on with its own cutoff, not with a later now.
            Journal(last=journal.last, current=begun, release=journal.release).write(config.home)
            table = config.home / str(begun.cutoff) / "table"
            # A table is renamed into place when it is whole: what is there is complete.
            if not table.exists():
                console.print("step 1 of 5: the training table")
                table.parent.mkdir(exist_ok=True)
                counts = write_loop_table(
                    source,
                    begun.cutoff,
                    table,
                    config.attribution,
                    begun.known,
                    has_pseudonyms=source.has_pseudonyms,
                )
                for line in counts_in_words(counts):
                    console.print(f"  {line}")
        # Not at the top: completion on TAB composes configs, and need not wait for Lightning and the report.
        from training.looping.steps import Steps

        return _ended(Steps(config, config.trained_alone(), table, console).run(), console)


def _ended(outcome: Outcome | None, console: Console) -> int:
    """Returns the exit status of an outcome; None stands for a person who interrupted the training."""
    if outcome is None:
        console.print("interrupted; the same command goes on from here")
        return EXIT_INTERRUPTED
    return EXIT_REFUSED if outcome is Outcome.refused else 0


def _begun(journal: Journal, config: LoopConfig, log: EventLog, now: int, console: Console) -> Loop | None:
    """Returns the loop to go on with, or a new one; None if the log holds nothing new."""
    settings = config.checksum()
    # Of other settings the half-done loop would give what nobody asked for.
    if journal.current is not None and journal.current.settings == settings:
        console.print(f"going on with the loop of {moment_text(journal.current.cutoff)} UTC")
        return journal.current
    cutoff = seconds_of(config.cutoff, "cutoff") if config.cutoff else now
    known = last_known(log, cutoff)
    # Also after a refusal: the same events would be refused again.
    if known <= (journal.last.known if journal.last else 0):
        console.print(
            f"nothing new: the log holds no event before {moment_text(cutoff)} UTC that the last loop did "
            "not know"
        )
        return None
    return Loop(cutoff=cutoff, known=known, settings=settings)


@command("loop", LoopConfig)
def main(config: LoopConfig) -> None:
    """Goes once from the log to a release."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    sys.exit(loop(config, int(time.time()), open_console()))


if __name__ == "__main__":
    main()
