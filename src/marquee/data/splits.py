"""Parts the events into train, validation and test, and proves that nothing crosses from one to another.

Does not drop users or items that training never saw: what becomes of them is for the data set and the
evaluation to decide.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from marquee.core.moments import moment_text
from marquee.core.schema import TimeMeaning
from marquee.data.leakage import require_once, require_period, require_user_order
from marquee.data.sessions import first_of_each_user
from marquee.data.split_config import PARTS, SplitConfig, SplitMethod
from marquee.errors import ConfigError, DataError, MissingColumnError

__all__ = ["Cutoffs", "Split", "SplitConfig", "SplitMethod", "split_events", "validate_no_leakage"]

PART = "split"
_TRAIN, _VALIDATION, _TEST = 0, 1, 2
_PART = pl.UInt8()
_SAME_EVENT = ("user_id", "item_id", "timestamp", "kind")
_REPEATED = (
    ". Where a file repeats its rows, one of them may have been drawn into validation: "
    "data.events.deduplicate=true keeps the first of them"
)
_FEW_MOMENTS = 10
_ROUNDING = (
    1e-9  # 0.1 × 30 is 3.0000000000000004 and 0.29 × 100 is 28.999999999999996; both mean the whole number
)


@dataclass(frozen=True)
class Cutoffs:
    """The moments of a split by time: train < validation ≤ validation part < test ≤ test part."""

    validation: int
    test: int


@dataclass(frozen=True)
class Split:
    """Events in three parts, each in the order of the table, but for what `split_events` says.

    Attributes:
        train: What models learn from.
        validation: What settings are chosen on; empty after `fit_on_validation`.
        test: What is read once.
        description: How they were parted, in words.
        cutoffs: The moments of a split by time, None for the others.
        asked_validation: Events of the validation period that are known when its users are asked, if any.
        asked_test: The same of the test period.
    """

    train: pl.DataFrame
    validation: pl.DataFrame
    test: pl.DataFrame
    description: str
    cutoffs: Cutoffs | None = None
    asked_validation: pl.DataFrame | None = None
    asked_test: pl.DataFrame | None = None

    @property
    def before_validation(self) -> pl.DataFrame:
        """The events that may be known when users are asked for validation."""
        return _joined(self.train, self.asked_validation)

    @property
    def before_test(self) -> pl.DataFrame:
        """The events that may be known when users are asked for test."""
        return _joined(self.train, self.asked_validation, self.validation, self.asked_test)

    @property
    def events(self) -> pl.DataFrame:
        """All events, of all parts."""
        return _joined(self.before_test, self.test)


def _joined(*parts: pl.DataFrame | None) -> pl.DataFrame:
    """Returns the events of the parts that there are."""
    return pl.concat([part for part in parts if part is not None])


def split_events(
    events: pl.DataFrame, config: SplitConfig, time: TimeMeaning = TimeMeaning.absolute
) -> Split:
    """Returns the events in three parts, after `validate_no_leakage`.

    Rows of a user count in the order of time, and with equal time in the order of the table. Shares of a
    user's n events are rounded down. A user's first event is always train: someone with one event is not
    judged, someone with two is not used to validate. Where files say the parts, there is no time and the
    events of the validation file train, they are spread evenly among each user's others.

    ```
    last_fraction, test 0.2, validation 0.1     10 events of a user: 7 train, 1 validation, 2 test
    leave_last, n 1                              3 events of a user: 1 train, 1 validation, 1 test
                                                 2 events of a user: 1 train, 0 validation, 1 test
    ```

    Args:
        events: Canonical events, in the order of `tables.Tables`.
        config: How to part them.
        time: What timestamps say.

    Raises:
        ConfigError: If the method needs times that the set does not have.
        MissingColumnError: If the split is given and there is no column `split`.
        DataError: If nothing is left to train on.
        LeakageError: If an event crosses the split.

    Example:
        >>> days = pl.DataFrame({"event_id": list("abcd"), "user_id": ["u"] * 4, "timestamp": [1, 2, 3, 4]})
        >>> config = SplitConfig(method=SplitMethod.leave_last, n=1)
        >>> parts = split_events(days, config)
        >>> parts.train["event_id"].to_list(), parts.validation["event_id"].to_list()
        (['a', 'b'], ['c'])
    """
    split = part_events(events, config, time)
    # Found here, with advice: later it would be an error of whatever is fitted first.
    if split.train.is_empty():
        raise DataError(
            f"the split leaves no event to train on, got {events.height} events and {split.description}; "
            f"{_advice(events, config)} (config data.split)"
        )
    return split


def part_events(events: pl.DataFrame, config: SplitConfig, time: TimeMeaning = TimeMeaning.absolute) -> Split:
    """Returns events in three parts as `split_events` does, also where none is left to train on.

    But for splits at random, and cutoffs that are shares of all events, what becomes of an event depends on
    the events of its user alone: some users of a table part as they do among all.
    """
    if config.method is SplitMethod.time and time is not TimeMeaning.absolute:
        raise ConfigError(
            f"data.split.method=time needs data.time=absolute, got {time}; use leave_last, last_fraction "
            "or random"
        )
    parters: dict[SplitMethod, Callable[[pl.DataFrame, SplitConfig, TimeMeaning], _Parting]] = {
        SplitMethod.time: _part_by_time,
        SplitMethod.leave_last: _part_last,
        SplitMethod.last_fraction: _part_fraction,
        SplitMethod.random: _part_random,
        SplitMethod.given: _part_given,
    }
    parting = parters[config.method](events, config, time)
    part = parting.part.set(parting.part == _VALIDATION, _TRAIN) if config.fit_on_validation else parting.part
    parts = [_taken(events, part == number) for number in (_TRAIN, _VALIDATION, _TEST)]
    n_parted = sum(frame.height for frame in parts)
    assert n_parted == events.height, f"a split must keep every event, got {n_parted} of {events.height}"
    merged = ", validation added to train" if config.fit_on_validation else ""
    train, validation, test = parts
    if config.method is SplitMethod.given and time is TimeMeaning.none:
        train = _spread(train)
    split = Split(train, validation, test, parting.description + merged, parting.cutoffs)
    # Proven on whole parts, before the first events of each user become known.
    validate_no_leakage(split, config)
    return _asked_later(split, config.ask_after) if config.ask_after else split


def _taken(events: pl.DataFrame, is_taken: pl.Series) -> pl.DataFrame:
    """Returns some events; without a copy where they follow each other, as parts by time do."""
    n_taken = int(is_taken.sum())
    first = is_taken.arg_max() or 0
    if n_taken and is_taken.slice(first, n_taken).all():
        return events.slice(first, n_taken)
    return events.filter(is_taken)


def _asked_later(split: Split, n: int) -> Split:
    """Returns a split whose users are asked after their first n events of a part."""
    validation, test = (first_of_each_user(part, n) for part in (split.validation, split.test))
    return replace(
        split,
        validation=split.validation.filter(~validation),
        test=split.test.filter(~test),
        description=f"{split.description}, each user asked after {n} events of the part",
        asked_validation=split.validation.filter(validation),
        asked_test=split.test.filter(test),
    )


def _advice(events: pl.DataFrame, config: SplitConfig) -> str:
    """Returns the advice where no event is left to train on."""
    if config.validation_from or config.test_from:
        first, last = events["timestamp"].min(), events["timestamp"].max()
        assert isinstance(first, int), f"events have a first moment, got {first!r}"
        assert isinstance(last, int), f"events have a last moment, got {last!r}"
        return f"move the cutoffs, for the events lie from {moment_text(first)} to {moment_text(last)}"
    n_moments = events["timestamp"].n_unique()
    if config.method is SplitMethod.time and n_moments <= _FEW_MOMENTS:
        return (
            f"all events lie at {n_moments} moments, and those of one moment stay together: use times of "
            "more detail, or method=leave_last or random"
        )
    return "lower the fractions or move the cutoffs"


@dataclass(frozen=True)
class _Parting:
    """The number of the part of each event, (n_events,), and how it came about."""

    part: pl.Series
    description: str
    cutoffs: Cutoffs | None = None


def _part_by_time(events: pl.DataFrame, config: SplitConfig, time: TimeMeaning) -> _Parting:  # noqa: ARG001
    """Returns the parts before, between and after two moments."""
    validation, test = _cutoffs(events, config)
    part = events.select(
        pl.when(pl.col("timestamp") >= test)
        .then(pl.lit(_TEST, _PART))
        .when(pl.col("timestamp") >= validation)
        .then(pl.lit(_VALIDATION, _PART))
        .otherwise(pl.lit(_TRAIN, _PART))
    ).to_series()
    return _Parting(
        part,
        f"validation from {moment_text(validation)}, test from {moment_text(test)}",
        Cutoffs(validation, test),
    )


def _cutoffs(events: pl.DataFrame, config: SplitConfig) -> tuple[int, int]:
    """Returns the moments from which validation and test are."""
    if config.validation_from and config.test_from:
        return config.validation_cutoff(), config.test_cutoff()
    ordered = events["timestamp"].sort()
    if config.test_from:
        test = config.test_cutoff()
    else:
        # One past the last event: there a part of no events begins.
        test = _cutoff(ordered, config.test_fraction, events.height, int(ordered[-1]) + 1)
    if config.validation_from:
        return config.validation_cutoff(), test
    before = ordered.filter(ordered < test)
    return _cutoff(before, config.validation_fraction, events.height, test), test


def _cutoff(ordered: pl.Series, fraction: float, n_events: int, end: int) -> int:
    """Returns the moment from which the last events of `ordered` lie that make `fraction` of all events.

    Events of one moment stay together, on the later side: the part may be larger than asked for. A part of
    no events begins at `end`.
    """
    # The share is of all events, and fewer may lie before the test.
    n_later = min(share_of(fraction, n_events), len(ordered))
    return int(ordered[len(ordered) - n_later]) if n_later else end


def _part_last(events: pl.DataFrame, config: SplitConfig, time: TimeMeaning) -> _Parting:
    """Returns the parts with the last events of each user in test, those before them in validation."""
    part = _part_from_the_end(events, pl.lit(config.n), pl.lit(config.n))
    return _Parting(
        part, f"each user's last {config.n} by {_by(time)} test, the {config.n} before validation"
    )


def _part_fraction(events: pl.DataFrame, config: SplitConfig, time: TimeMeaning) -> _Parting:
    """Returns the parts with the last share of each user's events in test, the share before in validation."""
    n = pl.len().over("user_id")
    part = _part_from_the_end(
        events, _shares(config.test_fraction, n), _shares(config.validation_fraction, n)
    )
    return _Parting(
        part,
        f"each user's last {config.test_fraction:.0%} by {_by(time)} test, the "
        f"{config.validation_fraction:.0%} before validation",
    )


def _part_random(events: pl.DataFrame, config: SplitConfig, time: TimeMeaning) -> _Parting:  # noqa: ARG001
    """Returns the parts with a share of each user's events drawn into test, and another into validation."""
    # In place of times: the last share in a random order is a random share.
    keys = np.random.default_rng(config.seed).permutation(events.height)
    n = pl.len().over("user_id")
    part = _part_from_the_end(
        events.with_columns(timestamp=pl.Series(keys)),
        _shares(config.test_fraction, n),
        _shares(config.validation_fraction, n),
    )
    return _Parting(
        part,
        f"{config.test_fraction:.0%} of each user's events test and {config.validation_fraction:.0%} "
        f"validation, drawn at random with seed {config.seed}",
    )


def _part_from_the_end(events: pl.DataFrame, n_test: pl.Expr, n_validation: pl.Expr) -> pl.Series:
    """Returns the parts that these numbers of each user's last events make, sparing the first event."""
    # Ordinal: rows of equal time count in the order of the table.
    n_later = pl.len().over("user_id") - pl.col("timestamp").rank("ordinal").over("user_id")
    counted = events.select(
        later=n_later.cast(pl.Int64),
        # All but the first event, which trains: a user without history could not be asked.
        spare=pl.len().over("user_id").cast(pl.Int64) - 1,
        test=n_test.cast(pl.Int64),
        validation=n_validation.cast(pl.Int64),
        # Test before validation: of two events the second is test.
    ).with_columns(test=pl.min_horizontal("test", "spare"))
    in_test = pl.col("later") < pl.col("test")
    in_validation = pl.col("later") < pl.min_horizontal(pl.col("test") + pl.col("validation"), "spare")
    return counted.select(
        pl.when(in_test)
        .then(pl.lit(_TEST, _PART))
        .when(in_validation)
        .then(pl.lit(_VALIDATION, _PART))
        .otherwise(pl.lit(_TRAIN, _PART))
    ).to_series()


def _part_given(events: pl.DataFrame, config: SplitConfig, time: TimeMeaning) -> _Parting:
    """Returns the parts that the files say; without a validation file some of train validates."""
    if PART not in events.columns:
        raise MissingColumnError(
            f"data.split.method=given needs the column {PART!r}, got {events.columns}; declare "
            "data.events.paths"
        )
    names = dict(zip(PARTS, (_TRAIN, _VALIDATION, _TEST), strict=True))
    unknown = events.filter(~pl.col(PART).is_in(list(names)))
    if not unknown.is_empty():
        raise DataError(f"the column {PART!r} must hold one of {list(names)}, got {unknown[PART][0]!r}")
    part = events[PART].replace_strict(names, return_dtype=_PART)
    has_file = (part == _VALIDATION).any()
    # What the files say counts, unless the config asks for something else in words.
    if config.validation_fraction == 0 or (has_file and not config.validate_end):
        return _Parting(part, "as the files say")
    train = events.filter(part == _TRAIN)
    if time is not TimeMeaning.none:
        how = f"the last by {_by(time)}"
    elif config.validate_end:
        train, how = train.with_columns(timestamp=pl.int_range(pl.len())), "the last in the file"
    else:
        # Without time nothing says which events came last: a random share stands in.
        keys = np.random.default_rng(config.seed).permutation(train.height)
        train, how = train.with_columns(timestamp=pl.Series(keys)), f"at random with seed {config.seed}"
    n = pl.len().over("user_id")
    held_out = _part_from_the_end(train, pl.lit(0), _shares(config.validation_fraction, n))
    is_train = part == _TRAIN
    # Where a validation file is there as well, the end of each user validates in its place.
    part = part.replace(_VALIDATION, _TRAIN).scatter(is_train.arg_true(), held_out)
    if has_file:
        how += ", in place of the validation file, which trains"
    return _Parting(
        part,
        f"as the files say, {config.validation_fraction:.0%} of each user's training events validate, {how}",
    )


def _spread(train: pl.DataFrame) -> pl.DataFrame:
    """Returns training events with those of a validation file spread evenly among each user's others.

    Drawn at random from a list whose order is all that is known of time, they have lost their places, and
    evenly spread ones are nearest to them on average: they are not what came last.
    """
    if not (train[PART] == "validation").any():
        return train
    of_file = ("user_id", PART)
    # Places of both lists lie in (0, 1), so that the shorter one is spread over the longer.
    place = (pl.int_range(pl.len()).over(of_file) + 0.5) / pl.len().over(of_file)
    return train.sort(place, maintain_order=True)


def share_of(fraction: float, n: int) -> int:
    """Returns a share of n, rounded down."""
    return int(fraction * n + _ROUNDING)


def _shares(fraction: float, n: pl.Expr) -> pl.Expr:
    """Returns `_share` of each row's n."""
    return (n * fraction + _ROUNDING).floor()


def _by(time: TimeMeaning) -> str:
    """Returns the source of the order of a user's events, in words."""
    return "the order of the file" if time is TimeMeaning.none else "time"


def validate_no_leakage(split: Split, config: SplitConfig) -> None:
    """Raises LeakageError, with an example, if an event crosses the split.

    On every split no event stands in two parts. By time, each part keeps to its side of the cutoffs. By
    user, no event is later than one of a later part. Given, no event has its like (user, item, time, kind)
    in another part: such files may well be drawn at random, so their times prove nothing. At random, the
    first holds alone.
    """
    parts = dict(zip(PARTS, (split.train, split.validation, split.test), strict=True))
    require_once(parts, ["event_id"])
    if config.method is SplitMethod.given:
        require_once(parts, list(_SAME_EVENT), _REPEATED)
    elif split.cutoffs is not None:
        # Then validation is part of train, which ends where test begins.
        train_end = split.cutoffs.test if config.fit_on_validation else split.cutoffs.validation
        require_period(parts, "train", None, train_end)
        require_period(parts, "validation", split.cutoffs.validation, split.cutoffs.test)
        require_period(parts, "test", split.cutoffs.test, None)
    elif config.method is not SplitMethod.random:
        require_user_order(parts)
