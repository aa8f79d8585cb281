"""The declaration of the split of the events."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from marquee.errors import ConfigError

PARTS = ("train", "validation", "test")


class SplitMethod(StrEnum):
    """How events are parted.

    `time`: at two moments, the same for everybody. `leave_last`: the last n events of each user.
    `last_fraction`: the last share of each user's events. `random`: a share of each user's events, drawn at
    random. `given`: as the files say.
    """

    time = "time"
    leave_last = "leave_last"
    last_fraction = "last_fraction"
    random = "random"
    given = "given"


@dataclass(kw_only=True)
class SplitConfig:
    """How events are parted.

    Attributes:
        method: See `SplitMethod`.
        validation_fraction: `time`: share of all events, just before the test. `last_fraction` and
            `random`: share of each user's. `given` without validation file: share of each user's training
            events.
        test_fraction: The same of the latest events, or of those drawn; nothing for `given`.
        validation_from: `time`: the moment from which events are validation, as seconds or ISO 8601, in
            place of the fraction; empty for the fraction.
        test_from: `time`: the same for test.
        n: `leave_last`: events of each part per user.
        seed: `random`: which events are drawn. `given` without validation file, where there is no time: which
            training events validate.
        validate_end: `given`, where there is no time: the last training events of each user, as they stand in
            the file, validate, in place of random ones; a validation file then trains. For published splits
            whose test part is not a random draw but what came last.
        ask_after: `time`: a user is asked after this many events of the part, which are known then, in place
            of at its first event; a user's last event is never known. For sessions, which have no history.
        fit_on_validation: Add validation to train, for a last fit with settings that are already chosen.
    """

    method: SplitMethod = SplitMethod.time
    validation_fraction: float = 0.1
    test_fraction: float = 0.1
    validation_from: str = ""
    test_from: str = ""
    n: int = 1
    seed: int = 0
    validate_end: bool = False
    ask_after: int = 0
    fit_on_validation: bool = False

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError that names the key if a value is impossible or belongs to another method."""
        for key in ("validation_fraction", "test_fraction"):
            if not 0 <= getattr(self, key) < 1:
                raise ConfigError(f"data.split.{key} must be in [0, 1), got {getattr(self, key)}")
        # Each may be in range while the two together leave nothing to train on.
        if self.validation_fraction + self.test_fraction >= 1:
            raise ConfigError(
                "data.split must leave something to train, got "
                f"validation_fraction={self.validation_fraction} and test_fraction={self.test_fraction}; "
                "their sum must be below 1"
            )
        self._validate_asking()
        if self.n < 1:
            raise ConfigError(f"data.split.n must be 1 or more, got {self.n}")
        if self.validate_end and not (self.method is SplitMethod.given and self.validation_fraction):
            raise ConfigError(
                "data.split.validate_end needs method=given and a validation_fraction above 0, got "
                f"{self.method} and {self.validation_fraction}"
            )
        moments = {"validation_from": self.validation_from, "test_from": self.test_from}
        if any(moments.values()) and self.method is not SplitMethod.time:
            raise ConfigError(f"data.split.validation_from and test_from need method=time, got {self.method}")
        # Read here for its errors alone: a wrong moment is found before any file is read.
        for key, moment in moments.items():
            if moment:
                seconds_of(moment, f"data.split.{key}")
        if all(moments.values()) and self.validation_cutoff() > self.test_cutoff():
            raise ConfigError(f"data.split.validation_from must not be after test_from, got {moments}")

    def _validate_asking(self) -> None:
        """Raises ConfigError unless `ask_after` is possible and belongs to the method."""
        # Other methods part within a user, who is asked at the cut itself.
        if self.ask_after < 0 or (self.ask_after and self.method is not SplitMethod.time):
            raise ConfigError(
                f"data.split.ask_after must be 0 or more and needs method=time, got {self.ask_after} with "
                f"{self.method}"
            )

    @property
    def needs_order(self) -> bool:
        """Whether it matters which of a user's events are the latest."""
        # Given files are parted already; what validates is drawn at random unless the end is asked for.
        return self.method is not SplitMethod.random and (
            self.method is not SplitMethod.given or self.validate_end
        )

    def validation_cutoff(self) -> int:
        """Returns `validation_from` in seconds."""
        return seconds_of(self.validation_from, "data.split.validation_from")

    def test_cutoff(self) -> int:
        """Returns `test_from` in seconds."""
        return seconds_of(self.test_from, "data.split.test_from")


def seconds_of(moment: str, key: str) -> int:
    """Returns a moment in seconds; raises ConfigError if it is neither a number nor ISO 8601."""
    try:
        # First: 20110901 is seconds to the config, and would be a day to ISO 8601.
        return int(moment)
    except ValueError:
        pass
    try:
        parsed = datetime.fromisoformat(moment)
    except ValueError:
        raise ConfigError(f"{key} must be seconds or ISO 8601 such as 2011-09-01, got {moment!r}") from None
    # Not the zone of the machine: a config must split alike everywhere.
    return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp())
