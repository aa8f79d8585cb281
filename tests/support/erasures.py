"""A service's stores with users, rows and closed days, for tests of erasure."""

from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from marquee.store.ledger.erasing import open_ledger_erasure
from marquee.store.log.closed_days import close_days
from marquee.store.log.event_log import EventLog
from marquee.store.log.event_rows import EventLimits
from marquee.store.people.consent import Tier
from marquee.store.people.erasing.eraser import Eraser, Places, Retention
from marquee.store.people.erasing.opening import open_receipts
from marquee.store.people.opening import open_users
from marquee.store.signing import SigningKey
from tests.support.event_stores import DAY, NOW, Store, decision, event
from tests.support.people import handle, pseudonym

EARLIER = NOW - 20 * DAY
ASKED = NOW + 1000


@dataclass
class Service:
    """The stores of one service, opened anew as by a process that begins.

    Attributes:
        store: Where the log is.
        closed: Folder of its closed days.
        key: Signs receipts.
        retention: When rows go by themselves.
    """

    store: Store
    closed: Path
    key: SigningKey | None = None
    retention: Retention = field(default_factory=Retention)
    _places: list[Places] = field(default_factory=list)

    def eraser(self) -> Eraser:
        """Returns the eraser of a new process."""
        where = self.store.where
        ledger = open_ledger_erasure(where)
        places = Places(self.store.open(), self.closed, open_users(where), open_receipts(where), ledger)
        self._places.append(places)
        return Eraser(places=places, key=self.key, retention=self.retention)

    def close(self) -> None:
        """Closes whatever was opened."""
        while self._places:
            places = self._places.pop()
            places.users.close()
            places.receipts.close()
            assert places.ledger is not None, "the service keeps a ledger"
            places.ledger.close()
        self.store.close()


def fill(eraser: Eraser, n_users: int = 4) -> list[str]:
    """Names users and gives each rows of every sort: 9 events and 4 decisions, half of them in files.

    Returns:
        The pseudonyms of the users, who are called user-0 and so on.
    """
    places = eraser.places
    names = {f"user-{i}": pseudonym(100 + i) for i in range(n_users)}
    places.users.name({handle(user): name for user, name in names.items()})
    for step, moment in (("old", EARLIER), ("new", NOW)):
        for user, name in names.items():
            _append(places.log, f"{user}-{step}".replace("user", "row"), name, moment)
        if step == "old":
            assert places.closed is not None, "the service closes days"
            close_days(places.log, places.closed, NOW, (), EventLimits())
    for user, name in names.items():
        ahead = event(f"row-{user[-1]}-ahead", user_id=name, timestamp=NOW + 300)
        places.log.append([ahead])
    return list(names.values())


def _append(log: EventLog, row: str, user: str, moment: int) -> None:
    """Appends 4 events and 2 decisions of a user; one of the events names nobody."""
    log.append_decisions([decision(f"{row}-d{i}", user_id=user, time_ms=moment * 1000 + i) for i in range(2)])
    log.append(
        [
            event(f"{row}-click", user_id=user, timestamp=moment),
            event(f"{row}-view", user_id=user, timestamp=moment, kind="view"),
            event(f"{row}-shown", user_id=user, timestamp=moment, kind="exposure", decision_id=f"{row}-d0"),
            event(f"{row}-nobody", user_id=None, timestamp=moment, kind="click", decision_id=f"{row}-d1"),
        ]
    )


def rows_of(eraser: Eraser, user: str) -> list[str]:
    """Returns the ids of all rows of a user in store and files: those of user-3 are called row-3-…"""
    log, closed = eraser.places.log, eraser.places.closed
    ids = [one.event.event_id for one in log.read(0, 10_000)]
    ids += [one.decision.decision_id for one in log.read_decisions(0, 10_000)]
    assert closed is not None, "the service closes days"
    for path in closed.rglob("*"):
        if path.is_file():
            frame = pl.read_parquet(path)
            ids += frame["decision_id" if "items" in frame.columns else "event_id"].to_list()
    return sorted(one for one in ids if one.startswith(user.replace("user", "row") + "-"))


def consent(eraser: Eraser, user: str, now: int) -> str | None:
    """Lets a user consent and come back; returns their pseudonym."""
    users = eraser.places.users
    users.set_tier(handle(user), Tier.personal, now)
    return users.name({handle(user): pseudonym(now % 1000)})[handle(user)].pseudonym
