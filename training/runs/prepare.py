"""From a config to arrays: read, validate, split, encode, with what was found written into the run folder."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.markup import escape

from marquee.core.schema import TimeMeaning
from marquee.data.config import DataConfig
from marquee.data.dataset import Dataset, Fitted, JudgedPart
from marquee.data.order import Order, find_order
from marquee.data.prepared.dataset import read_dataset
from marquee.data.prepared.folder import PreparedFolder
from marquee.data.reading.quality import QualityReport
from marquee.data.reading.tables import Tables, read_tables
from marquee.data.splits import Split, split_events
from marquee.world import simulate, write_world
from training.config import TrainConfig
from training.fitting.names import Names, compare_names
from training.fitting.recipe import HISTORY_LENGTH, history_length
from training.runs.user_names import user_names

QUALITY_FILE = "quality.json"


@dataclass(frozen=True)
class Prepared:
    """The data of a run.

    Attributes:
        dataset: Training part and catalog, as arrays.
        split: The events of each part.
        validation: None where the split leaves none.
        test: None where the split leaves none.
        quality: What was read and what was rejected.
    """

    dataset: Dataset
    split: Split
    validation: JudgedPart | None
    test: JudgedPart | None
    quality: QualityReport

    @property
    def events(self) -> pl.DataFrame:
        """All valid events, of all parts."""
        return self.split.events


def prepare(config: TrainConfig, folder: Path, console: Console) -> Prepared:
    """Returns the data of a run; writes the quality report and the rejected rows into `folder`."""
    return part(read(config, folder, console), config, console)


def prepare_trained(config: TrainConfig, folder: Path, console: Console) -> Prepared:
    """Returns the data of a run as its model knows them: with the ids and features of its training.

    What today's tables have beside these is named. New items of the items table have features only, as in
    training; items and users that are gone keep their rows.

    Raises:
        ConfigError: If the run does not say what its rows stand for.
        DataError: If the tables lack a column that the model reads.
    """
    # Today's tables may have other users; a row of the model keeps its name.
    names = Names.read(folder)
    tables = read(config, folder, console)
    prepared = part(tables, config, console, names.fitted)
    counted = pl.col("kind").is_in(list(config.data.kinds))
    # Kinds that are not declared have left no user and no item in the model.
    train = prepared.split.train.filter(counted)
    found = []
    for what, trained in (("user", names.users), ("item", names.items)):
        now = set(train[f"{what}_id"])
        if words := compare_names(trained, sorted(now)):
            found.append(
                f"the training part has other {what}s than the model was trained on: {words}; rows are "
                "those of the training"
            )
    if not found:
        found = [
            f"{words} than those that the model was trained on; it stays as it was trained, and is shown and "
            "judged with those of today"
            for words in names.changes(Names.of(prepared.dataset))
        ]
    for line in found:
        console.print(escape(line), highlight=False, soft_wrap=True)
    return prepared


def require_trained_data(tables: Tables, config: TrainConfig, folder: Path, what: str) -> None:
    """Raises DataError unless the tables are those that a run was trained on.

    Args:
        tables: As they are now.
        config: Of the run.
        folder: Of the run.
        what: What would compare the run with a model of other data.
    """
    split = split_events(tables.events, config.data.split, config.data.time)
    Names.read(folder).require_same(Names.of(Dataset.prepare(tables, split, config.data)), what)


def read(config: TrainConfig, folder: Path, console: Console) -> Tables:
    """Returns the tables of a run; writes the quality report and the rejected rows into `folder`.

    What a command before this one has said of the same data is not said again.
    """
    if config.data.prepared:
        return _read_prepared(config, folder, console)
    simulate_if_missing(config.data, console)
    # Before the tables are read: two names of one user end the run.
    user_names(config.data)
    with console.status(escape(f"reading {config.data.name}")):
        tables = read_tables(config.data, folder / "rejects")
    _tell(tables.quality, folder, console)
    return tables


def _read_prepared(config: TrainConfig, folder: Path, console: Console) -> Tables:
    """Returns the tables of data that were prepared in parts."""
    prepared = Path(config.data.prepared)
    with console.status(escape(f"reading {prepared}")):
        of_run = PreparedFolder(prepared)
        of_run.manifest.require_declared(config.data, prepared)
        tables = of_run.tables()
    _tell(tables.quality, folder, console)
    return tables


def _tell(quality: QualityReport, folder: Path, console: Console) -> None:
    """Writes the quality report into the folder of a run, and shows it unless it was shown before."""
    path = folder / QUALITY_FILE
    found = json.dumps(quality.to_json_dict(), indent=1)
    # Most commands read the data of a run again, and have nothing new to say of them.
    is_known = path.is_file() and path.read_text(encoding="utf-8") == found
    path.write_text(found, encoding="utf-8")
    for line in [f"the same counts as before, see {path}"] if is_known else quality.summary_lines():
        console.print(line, highlight=False, soft_wrap=True)


def part(tables: Tables, config: TrainConfig, console: Console, fitted: Fitted | None = None) -> Prepared:
    """Returns tables, split and encoded as a config says, or as a trained model needs them."""
    data = settle_order(tables.events, config.data, console)
    with console.status("splitting and encoding"):
        split = split_events(tables.events, data.split, data.time)
        data = _with_history_length(split.train, data, config.left_open)
        dataset = _dataset(tables, split, data, fitted)
        validation, test = (
            # With all that was before the part: a user is asked with the history of that moment.
            None if judged.is_empty() else dataset.judged_part(before, judged)
            for before, judged in (
                (split.before_validation, split.validation),
                (split.before_test, split.test),
            )
        )
    console.print(
        f"split: {split.description}\n  train {len(split.train):,} events, {dataset.n_users:,} users, "
        f"{dataset.n_trained_items:,} of {dataset.n_items:,} items\n  validation {len(split.validation):,} "
        f"events, {_n_users(validation):,} users\n  test {len(split.test):,} events, "
        f"{_n_users(test):,} users",
        highlight=False,
    )
    return Prepared(dataset, split, validation, test, tables.quality)


def _dataset(tables: Tables, split: Split, data: DataConfig, fitted: Fitted | None) -> Dataset:
    """Returns the data set: arrays that are prepared already, or made of the tables."""
    # A trained model has rows of its own: another preparation knows nothing of their order.
    if not data.prepared or fitted is not None:
        return Dataset.prepare(tables, split, data, fitted)
    # Its checksums were compared when the tables were read.
    return read_dataset(PreparedFolder(Path(data.prepared), is_read=False), data, split)


def settle_order(events: pl.DataFrame, config: DataConfig, console: Console) -> DataConfig:
    """Returns the declaration with the order of lists found where it was left open, and says what was found.

    Args:
        events: In the order of the file.
        config: Of the data set.
        console: Shows it.
    """
    if config.time is not TimeMeaning.none or config.order is not Order.auto:
        return config
    found = find_order(events)
    console.print(found.line, highlight=False, soft_wrap=True)
    order, split = found.order, config.split
    if order is Order.none and split.validate_end:
        console.print(
            "  so the ends of lists do not validate: data.split.validate_end is left out", highlight=False
        )
        split = replace(split, validate_end=False)
    if order is Order.none and split.needs_order:
        # Asked for in words: the split reads the ends of lists, and its own caution says so.
        order = Order.events
    return replace(config, order=order, split=split)


def _with_history_length(train: pl.DataFrame, data: DataConfig, left_open: Sequence[str]) -> DataConfig:
    """Returns the declaration with the length of histories set, where it is open and lists have no times."""
    # The end of a list is its latest part where there are times, and any part of it where there are none.
    if HISTORY_LENGTH not in left_open or data.time is not TimeMeaning.none:
        return data
    sizes = train.group_by("user_id").len()["len"].to_list()
    return replace(data, history_length=history_length(sizes))


def _n_users(part: JudgedPart | None) -> int:
    """Returns how many users a part judges."""
    return 0 if part is None else len(part.user_ids)


def simulate_if_missing(config: DataConfig, console: Console) -> None:
    """Simulates the market of a config whose files are not there yet."""
    root = Path(config.root)
    # Files that are there are taken as they are, whatever the world's settings say by now.
    if config.world is None or (root / config.events.path).exists():
        return
    with console.status(escape(f"simulating {config.name}")):
        write_world(simulate(config.world), root)
    console.print(f"simulated {config.name} into {root}", highlight=False)
