"""Whom to speak to now: wait, cap per person, stop on conversion, and people held back at random.

A ledger of lines remembers who became a member when, and who was spoken to. A contact has a delivery id that
follows from the audience, the person and the number of the contact, so that one sent twice is one.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from marquee.bundle.traits.columns import SECONDS_PER_DAY
from marquee.errors import DataError
from marquee.evaluation.intervals import Estimate, wilson
from marquee.marketing.audiences.members import CONTACT
from marquee.marketing.config import FollowUpConfig

JOINED, SPOKEN, HELD = "joined", "contact", "held back"
_QUANTILE = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the ledger.

    Attributes:
        audience: Its name.
        user_id: Of whom.
        what: `joined`, `contact`, or `held back` where a contact was left out on purpose.
        at: Moment, seconds since 1970.
        delivery_id: Of a contact; empty otherwise.
    """

    audience: str
    user_id: str
    what: str
    at: float
    delivery_id: str = ""


@dataclass(frozen=True)
class Planned:
    """The contacts that are due now.

    Attributes:
        contacts: People to speak to, in the order of the audience.
        entries: To be added to the ledger besides the contacts: who joined, who was held back.
        skipped: Reason → members who are not spoken to now.
    """

    contacts: tuple[Entry, ...]
    entries: tuple[Entry, ...]
    skipped: Mapping[str, int]


@dataclass(frozen=True)
class Effect:
    """The effect of speaking to people, by those who were held back at random.

    Attributes:
        n_contact: People spoken to.
        n_held: People held back.
        rate_contact: Share of them that converted.
        rate_held: Share of the others.
        difference: Of the two, with its 95 % interval.
    """

    n_contact: int
    n_held: int
    rate_contact: float
    rate_held: float
    difference: Estimate


def plan_contacts(
    audience: str,
    members: Mapping[str, str],
    converted: Collection[str],
    ledger: Sequence[Entry],
    config: FollowUpConfig,
    now: float,
) -> Planned:
    """Returns whom to speak to now.

    Args:
        audience: Its name.
        members: Member → group, in the order in which they are to be spoken to.
        converted: People to leave alone.
        ledger: Of all audiences: the cap counts every contact of a person.
        config: The declaration.
        now: The present, seconds since 1970.
    """
    joined = {one.user_id: one.at for one in ledger if one.audience == audience and one.what == JOINED}
    turns: dict[str, list[float]] = {}
    recent: Counter[str] = Counter()
    for entry in ledger:
        if entry.audience == audience and entry.what in (SPOKEN, HELD):
            turns.setdefault(entry.user_id, []).append(entry.at)
        if entry.what == SPOKEN and entry.at > now - config.cap_days * SECONDS_PER_DAY:
            recent[entry.user_id] += 1
    contacts: list[Entry] = []
    entries: list[Entry] = []
    skipped: Counter[str] = Counter()
    gone = frozenset(converted)
    for one, group in members.items():
        if one not in joined:
            entries.append(Entry(audience, one, JOINED, now))
        had = turns.get(one, [])
        reason = _reason(one in gone, joined.get(one, now), had, recent[one], config, now)
        if reason:
            skipped[reason] += 1
        elif group == CONTACT:
            contacts.append(Entry(audience, one, SPOKEN, now, _delivery_id(audience, one, len(had))))
        else:
            # At the moment at which the others are spoken to: both are then counted over the same time.
            entries.append(Entry(audience, one, HELD, now))
            skipped["held back at random"] += 1
    return Planned(tuple(contacts), tuple(entries), dict(skipped))


def measure_effect(audience: str, ledger: Iterable[Entry], converted: Collection[str]) -> Effect | None:
    """Returns the effect of speaking to people; None until somebody was spoken to and somebody held back.

    Args:
        audience: Its name.
        ledger: Its lines.
        converted: People who converted.

    Source:
        Newcombe 1998, Statistics in Medicine 17, method 10 (a difference of two Wilson intervals).
    """
    own = [entry for entry in ledger if entry.audience == audience]
    spoken = {entry.user_id for entry in own if entry.what == SPOKEN}
    held = {entry.user_id for entry in own if entry.what == HELD} - spoken
    if not spoken or not held:
        return None
    gone = frozenset(converted)
    counts = np.array([float(len(spoken & gone)), float(len(held & gone))])
    sizes = np.array([float(len(spoken)), float(len(held))])
    low, high = wilson(counts, sizes)
    rate, other = (counts / sizes).tolist()
    below = ((rate - low[0]) ** 2 + (high[1] - other) ** 2) ** 0.5
    above = ((high[0] - rate) ** 2 + (other - low[1]) ** 2) ** 0.5
    difference = rate - other
    interval = Estimate(difference, difference - float(below), difference + float(above))
    return Effect(len(spoken), len(held), rate, other, interval)


def to_lines(entries: Iterable[Entry]) -> str:
    """Returns entries as lines of JSON."""
    return "".join(json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in entries)


def from_lines(text: str, source: str) -> list[Entry]:
    """Returns the entries of lines of JSON.

    Args:
        text: The lines.
        source: Where they come from, for messages.

    Raises:
        DataError: If a line is no entry; a last line that was cut off by a crash is left out.
    """
    lines = text.split("\n")
    # What follows the last end of a line was never finished.
    found = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            found.append(Entry(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise DataError(
                f"{source} line {number} is no entry of a ledger, got {line[:80]!r}: {error}; restore it"
            ) from error
    return found


def _reason(
    is_converted: bool, joined: float, had: Sequence[float], recent: int, config: FollowUpConfig, now: float
) -> str:
    """Returns why a member is not spoken to now, an empty text if they are."""
    if is_converted:
        return "converted"
    if now < joined + config.wait_days * SECONDS_PER_DAY:
        return "waits"
    if had and not config.again_days:
        return "had their contact"
    if had and now < max(had) + config.again_days * SECONDS_PER_DAY:
        return "waits for the next contact"
    if recent >= config.cap:
        return "spoken to often enough"
    return ""


def _delivery_id(audience: str, user_id: str, number: int) -> str:
    """Returns the id of a contact, the same whenever it is sent."""
    return hashlib.sha256(f"{audience}\0{user_id}\0{number}".encode()).hexdigest()[:32]
