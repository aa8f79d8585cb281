"""Speaks to the members of audiences who are due, and measures it by those who were held back."""

import csv
import os
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec
import yaml
from rich.console import Console

from marquee.errors import ConfigError
from marquee.marketing.audiences.follow_up import (
    Entry,
    from_lines,
    measure_effect,
    plan_contacts,
    to_lines,
)
from marquee.marketing.audiences.members import GROUP
from marquee.marketing.config import Channel, FollowUpConfig
from marquee.marketing.reading.customers import USER_ID
from training.cli.command import command
from training.cli.console import open_console
from training.customers.folders import AUDIENCES, CustomersFolder
from training.follow_up.webhook import send_contacts

LEDGER, CONTACTS = "follow_up.jsonl", "contacts.jsonl"
BATCH = 1000


@dataclass(kw_only=True)
class FollowUpCommandConfig:
    """Whose members are spoken to.

    Attributes:
        run: Folder of a run of customers, or `latest` beside it.
    """

    run: str


@command("follow_up", FollowUpCommandConfig)
def main(config: FollowUpCommandConfig) -> None:
    """Speaks to those who are due in every audience with a follow-up."""
    folder = CustomersFolder.find(config.run)
    declared = yaml.safe_load((folder.path / "config.yaml").read_text(encoding="utf-8"))["audiences"]
    follow_ups = {
        name: msgspec.convert(own["follow_up"], FollowUpConfig)
        for name, own in declared.items()
        if own.get("follow_up")
    }
    if not follow_ups:
        raise ConfigError(
            f"{folder.path} has no audience with a follow_up, it has {list(declared)}; add follow_up: {{}}"
        )
    console = open_console()
    for name, own in follow_ups.items():
        follow_up(folder, name, own, time.time(), console)


def follow_up(
    folder: CustomersFolder, name: str, config: FollowUpConfig, now: float, console: Console
) -> None:
    """Speaks to the members of one audience.

    Args:
        folder: The run.
        name: Of the audience.
        config: Its follow-up.
        now: The present, seconds since 1970.
        console: To say what was done.
    """
    # Beside the runs: the next run must remember whom this one spoke to.
    path = folder.path.parent / LEDGER
    ledger = from_lines(path.read_text(encoding="utf-8"), str(path)) if path.is_file() else []
    file = folder.path / AUDIENCES / f"{name}.csv"
    if not file.is_file():
        console.print(f"{name}: not written by this run, nobody is spoken to")
        return
    with file.open(encoding="utf-8", newline="") as lines:
        members = {row[USER_ID]: row[GROUP] for row in csv.DictReader(lines)}
    converted_file = folder.path / AUDIENCES / f"{name}.converted.txt"
    # By lines: an id may hold a blank.
    converted = converted_file.read_text(encoding="utf-8").split("\n") if converted_file.is_file() else []
    planned = plan_contacts(name, members, converted, ledger, config, now)
    _append(path, planned.entries)
    for first in range(0, len(planned.contacts), BATCH):
        batch = planned.contacts[first : first + BATCH]
        _deliver(folder, config, batch, now)
        # After delivery: a crash between the two sends the same delivery ids again.
        _append(path, batch)
    skipped = ", ".join(f"{n:,} {reason}" for reason, n in sorted(planned.skipped.items()))
    console.print(
        f"{name}: {len(planned.contacts):,} contacts by {config.channel}; {skipped or 'nobody left out'}"
    )
    effect = measure_effect(name, [*ledger, *planned.entries, *planned.contacts], converted)
    if effect is not None and config.stop:
        console.print(
            f"{name}: {effect.rate_contact:.2%} of {effect.n_contact:,} spoken to converted, "
            f"{effect.rate_held:.2%} of {effect.n_held:,} held back; difference "
            f"{effect.difference.mean:+.2%} ({effect.difference.low:+.2%} to {effect.difference.high:+.2%})"
        )


def _deliver(
    folder: CustomersFolder, config: FollowUpConfig, contacts: tuple[Entry, ...], now: float
) -> None:
    """Hands contacts over by the declared channel."""
    if config.channel is Channel.file:
        _append(folder.path.parent / CONTACTS, contacts)
        return
    key = os.environ.get(config.secret, "")
    if len(key) < 16:
        raise ConfigError(
            f"follow_up.secret needs a key of 16 characters or more in the environment variable "
            f"{config.secret}, got {len(key)}; set it"
        )
    send_contacts(config.url, key.encode(), contacts, now)


def _append(path: Path, entries: tuple[Entry, ...]) -> None:
    """Adds lines to a file, on disk before the next step."""
    if not entries:
        return
    before = path.read_bytes() if path.is_file() else b""
    with path.open("ab") as file:
        # A line that a crash cut off must not swallow the next one.
        if before and not before.endswith(b"\n"):
            file.truncate(before.rfind(b"\n") + 1)
        file.write(to_lines(entries).encode())
        file.flush()
        os.fsync(file.fileno())


if __name__ == "__main__":
    main()
