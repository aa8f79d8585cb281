"""The terms of erasures, as an operator promises them and a process keeps them."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from marquee.bundle.holders import find_holders
from marquee.errors import ConfigError
from marquee.store.log.log_rows import SECONDS_PER_DAY
from marquee.store.people.erasing.eraser import SETTLE_S, Eraser, Places, Retention
from marquee.store.people.erasing.receipts import HoldingRelease
from marquee.store.signing import SigningKey
from serving.recording.settings import RecordingSettings


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """The promises of an operator.

    Attributes:
        receipt_key: File of the key that signs receipts; empty for none.
        hours: Within how many hours an erasure must be finished.
        retention: When rows go by themselves.
        channels: Folders of the releases.
        max_release_age_s: Age at which a release should have been replaced, seconds.
        scores: Folder of the folders of scores; empty for none.
    """

    receipt_key: str
    hours: int
    retention: Retention
    channels: tuple[str, ...] = ()
    max_release_age_s: int = 0
    scores: str = ""

    @classmethod
    def of(cls, settings: RecordingSettings, channels: Collection[Path], max_age_days: int) -> "Terms":
        """Returns the terms of settings."""
        return cls(
            receipt_key=settings.receipt_key,
            hours=settings.erase_hours,
            retention=Retention(
                events=settings.keep_events_days,
                decisions=settings.keep_decisions_days,
                tombstones=settings.keep_tombstones_days,
                scores=settings.keep_scores_days,
            ),
            channels=tuple(str(channel) for channel in channels),
            max_release_age_s=max_age_days * SECONDS_PER_DAY,
            scores=settings.scores,
        )

    def find_releases(self, name: str) -> Sequence[HoldingRelease]:
        """Returns the releases that know a user by a name, and when each should have been replaced."""
        return [
            HoldingRelease(holder.version, holder.created + self.max_release_age_s)
            for channel in self.channels
            for holder in find_holders(Path(channel), name)
        ]

    def eraser(
        self, places: Places, settle_s: int = SETTLE_S, rest: Callable[[], None] = lambda: None
    ) -> Eraser:
        """Returns an eraser on these terms; raises ConfigError if its key cannot be used."""
        if self.scores:
            places = replace(places, scores=Path(self.scores))
        return Eraser(
            places=places,
            key=SigningKey.read(self.receipt_key) if self.receipt_key else None,
            hours=self.hours,
            retention=self.retention,
            find_releases=self.find_releases,
            settle_s=settle_s,
            rest=rest,
        )


def validate_terms(settings: RecordingSettings) -> None:
    """Raises ConfigError if the key for receipts cannot be used, or there is nobody to be erased."""
    if not settings.receipt_key:
        return
    if not settings.user_key:
        raise ConfigError(
            f"MARQUEE_RECEIPT_KEY needs MARQUEE_USER_KEY, without which nobody can be erased, got "
            f"{settings.receipt_key!r} alone; set both"
        )
    SigningKey.read(settings.receipt_key)


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A pass.

    Attributes:
        where: The log.
        closed: Folder of its closed days; None if no day is closed.
        terms: What was promised.
        now: Seconds since 1970 UTC.
        settle_s: How long an erasure waits for a pass, seconds.
    """

    where: str
    closed: str | None
    terms: Terms
    now: int
    settle_s: int = SETTLE_S
