"""A random interleaving of events, decisions, consents, erasures, closed days, passes and new processes.

A model in memory says which rows must be there after each pass: those of whoever was not erased since.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pytest

from marquee.store.log.closed_days import close_days
from marquee.store.log.event_rows import EventLimits
from marquee.store.people.consent import Tier
from marquee.store.people.erasing.eraser import SETTLE_S, Eraser
from tests.support.erasures import EARLIER, Service
from tests.support.event_stores import DAY, NOW, Store, decision, event
from tests.support.people import handle

N_STEPS, N_USERS = 60, 5


@dataclass
class Model:
    """The service as it is and as it should be.

    Attributes:
        service: As it is.
        draw: Draws what happens.
        now: Seconds since 1970 UTC.
        names: The pseudonym of each user who has one.
        rows: Ids of the rows of each user since they were last erased.
        erased: Users who were, and have not consented since.
        n_rows: How many rows there were.
    """

    service: Service
    draw: random.Random
    now: int = NOW
    names: dict[str, str] = field(default_factory=dict)
    rows: dict[str, set[str]] = field(default_factory=dict)
    erased: set[str] = field(default_factory=set)
    n_rows: int = 0

    def __post_init__(self) -> None:
        self.eraser: Eraser = self.service.eraser()

    def user(self) -> str:
        return f"user-{self.draw.randrange(N_USERS)}"

    def act(self) -> None:
        """Somebody acts, as the service would keep it: under a pseudonym, or not at all."""
        user, places = self.user(), self.eraser.places
        new = f"{self.draw.getrandbits(128):032x}"
        name = places.users.name({handle(user): new})[handle(user)].pseudonym
        assert (name is None) == (user in self.erased)
        if name is None:
            return
        assert self.names.setdefault(user, name) == name
        self.n_rows += 1
        row, moment = f"{user}|{self.n_rows}", self.draw.choice((EARLIER, self.now, self.now + 200))
        kept = {f"{row}|decision", f"{row}|event", f"{row}|nobody"}
        places.log.append_decisions([decision(f"{row}|decision", user_id=name, time_ms=moment * 1000)])
        places.log.append(
            [
                event(f"{row}|event", user_id=name, timestamp=moment),
                event(f"{row}|nobody", user_id=None, timestamp=moment, decision_id=f"{row}|decision"),
            ]
        )
        self.rows.setdefault(user, set()).update(kept)

    def erase(self) -> None:
        user = self.user()
        self.eraser.begin(handle(user), user, self.now)
        self.names.pop(user, None)
        self.rows.pop(user, None)
        self.erased.add(user)

    def consent(self) -> None:
        user = self.user()
        self.eraser.places.users.set_tier(handle(user), Tier.personal, self.now)
        self.erased.discard(user)

    def close_days(self) -> None:
        assert self.eraser.places.closed is not None
        close_days(self.eraser.places.log, self.eraser.places.closed, self.now, (), EventLimits())

    def begin_anew(self) -> None:
        self.service.close()
        self.eraser = self.service.eraser()

    def run_pass(self) -> None:
        self.now += SETTLE_S
        assert self.eraser.run(self.now) is not None
        assert self.eraser.places.users.forgotten() == []
        assert self.found() == set().union(*self.rows.values())

    def found(self) -> set[str]:
        log, closed = self.eraser.places.log, self.eraser.places.closed
        assert closed is not None
        ids = {one.event.event_id for one in log.read(0, 10_000)}
        ids |= {one.decision.decision_id for one in log.read_decisions(0, 10_000)}
        for path in closed.rglob("*.parquet"):
            frame = pl.read_parquet(path)
            ids |= set(frame["decision_id" if "items" in frame.columns else "event_id"])
        return ids


@pytest.fixture
def service(store: Store, tmp_path: Path) -> Iterator[Service]:
    opened = Service(store, tmp_path / "closed")
    yield opened
    opened.close()


@pytest.mark.parametrize("seed", [1, 2])
def test_store_keeps_what_the_model_says(service: Service, seed: int) -> None:
    model = Model(service, random.Random(seed))
    steps: list[Callable[[], None]] = [model.act] * 10
    steps += [model.erase, model.erase, model.consent, model.close_days, model.begin_anew, model.run_pass]
    for _ in range(N_STEPS):
        model.draw.choice(steps)()
        # Erasures of one person are told apart by the second.
        model.now += 1 + (model.draw.random() < 0.05) * DAY
    model.run_pass()
    assert model.n_rows > 10
