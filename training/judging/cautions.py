"""Cautions beside the numbers of a run: how its split treats time, how often its test part was read."""

import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from marquee.core.moments import moment_text
from marquee.core.schema import TimeMeaning
from marquee.data.dataset import Dataset
from marquee.data.splits import Split, SplitConfig, SplitMethod, validate_no_leakage

READINGS_FILE = "readings.txt"
DATA_FILE = "judged_data.json"
# Clocks of devices differ, so a few crossings are to be expected of any log.
MANY_FROM_THE_FUTURE = 0.01


def count_reading(folder: Path, part_name: str) -> int:
    """Notes in a run's folder that a part was read just now and returns how often it has been."""
    path = folder / READINGS_FILE
    # Appended and not counted up: two judgements at once must both be seen.
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{part_name}\t{datetime.now(UTC).isoformat(timespec='seconds')}\n")
    lines = path.read_text(encoding="utf-8").splitlines()
    return sum(line.partition("\t")[0] == part_name for line in lines)


def reading_cautions(part_name: str, n_readings: int) -> tuple[str, ...]:
    """Warns of a test part that was read more than once."""
    # The validation part is there to be read often.
    if part_name != "test" or n_readings < 2:
        return ()
    return (
        f"The test part has been read {n_readings} times for this run: if a choice rested on an earlier "
        "reading, these numbers are too good. Choose on validation (evaluation.test=false), then read the "
        "test part once.",
    )


def data_cautions(folder: Path, fingerprint: str, split: str) -> tuple[str, ...]:
    """Warns of data that are not those of the run's first report, which training wrote.

    Args:
        folder: Of the run; what was judged first is noted there.
        fingerprint: Checksum of the data that were read.
        split: How they were parted, in words.
    """
    path = folder / DATA_FILE
    now = {"fingerprint": fingerprint, "split": split}
    if not path.is_file():
        path.write_text(json.dumps(now), encoding="utf-8")
    # Read back even if just written: one path for both, and the file is known to be readable.
    first = json.loads(path.read_text(encoding="utf-8"))
    changed = [f"{name} {first[name]}, now {now[name]}" for name in now if first[name] != now[name]]
    if not changed:
        return ()
    return (
        f"The data have changed since this model was trained ({'; '.join(changed)}): what it learned from "
        "may stand in the part judged. Train again before you trust these numbers.",
    )


def availability_cautions(dataset: Dataset) -> tuple[str, ...]:
    """Warns of items with windows of availability beside timestamps that are no moments."""
    if not dataset.catalog.has_windows or dataset.time is TimeMeaning.absolute:
        return ()
    return (
        f"The items table says when items are available, and timestamps mean {dataset.time}: no moment can "
        "be set beside those windows, so every item was ranked for everybody, which serving does not do. "
        "Map a column of real times (data.time=absolute).",
    )


def split_cautions(split: Split, time: TimeMeaning, part_name: str) -> tuple[str, ...]:
    """Warns of a split whose training part knows later events than some judged user.

    Args:
        split: The parts.
        time: What timestamps say; without time there is nothing to see.
        part_name: The part judged, `test` or `validation`.
    """
    judged = split.test if part_name == "test" else split.validation
    # Without time no event is later than another.
    if time is TimeMeaning.none or judged.is_empty() or split.train.is_empty():
        return ()
    first = judged.group_by("user_id").agg(pl.col("timestamp").min().alias("first"))
    last = split.train.group_by("user_id").agg(pl.col("timestamp").max().alias("last"))
    # Users of both parts alone: a new user cannot have been looked ahead at.
    both = first.join(last, on="user_id")
    crossed = both.filter(pl.col("last") > pl.col("first")).height / max(both.height, 1)
    if crossed > MANY_FROM_THE_FUTURE:
        return (
            f"{crossed:.0%} of the users have training events later than their first {part_name} event: the "
            "split does not follow the timestamps that are at hand, so the model has seen what it is asked "
            "to foresee. Split by time (data.split.method=time).",
        )
    if time is not TimeMeaning.absolute:
        return ()
    # The median and not the first: one early event would condemn a split that is in order.
    start = judged["timestamp"].median()
    # Counted, not filtered: the events of training are never copied to be looked at.
    later = split.train.select((pl.col("timestamp") > start).mean()).item()
    if later > MANY_FROM_THE_FUTURE:
        return (
            f"{later:.0%} of the training events are later than half of the {part_name} events: the split is "
            "in order for each user and not across users, so what became popular later is known before. For "
            "how the model will do from a day on, split by time (data.split.method=time).",
        )
    return ()


def leakage_checks(split: Split, config: SplitConfig) -> tuple[str, ...]:
    """Verifies the split and states each result in one sentence.

    Args:
        split: The parts.
        config: How they were made.

    Raises:
        LeakageError: If an event crosses the split.
    """
    # Raises before anything is stated: a report never says of a leaking split that it is in order.
    validate_no_leakage(split, config)
    parts = {"train": split.train, "validation": split.validation, "test": split.test}
    sizes = [f"{len(events):,} {name}" for name, events in parts.items()]
    found = [f"No event stands in two parts, among {sizes[0]}, {sizes[1]} and {sizes[2]} events: 0 found."]
    if config.method is SplitMethod.given:
        found.append("No event has its like (user, item, time, kind) in another part: 0 found.")
    # Said as it is: a sentence about time would claim what was not tested.
    elif config.method is SplitMethod.random:
        found.append("Events are drawn at random: their order in time proves nothing.")
    elif split.cutoffs is None:
        found.append(
            "No user has an event in an earlier part that is later than one in a later part: 0 found."
        )
    else:
        periods = [
            f"{name} from {_moment(events, 'min')} to {_moment(events, 'max')}"
            for name, events in parts.items()
            if len(events)
        ]
        found.append(f"No event crosses a cutoff: {', '.join(periods)}.")
    return tuple(found)


def _moment(events: pl.DataFrame, end: str) -> str:
    """Returns the first or the last moment of events, as people write it."""
    moment = getattr(events["timestamp"], end)()
    return moment_text(int(moment))
