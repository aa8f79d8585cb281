"""The plan of a preparation in parts: which tasks there are, in which order, over which files.

The tasks are functions of `marquee.data.prepared`; what they do is said there.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import polars as pl

from marquee.core.schema import EVENTS, ITEMS, USERS
from marquee.data.config import DataConfig, UnknownItems
from marquee.data.prepared import layout
from marquee.data.prepared.declared import as_text, of_rows, require_parts
from marquee.data.prepared.layout import numbered, read_facts
from marquee.data.prepared.manifest import MANIFEST, VERSION, Manifest
from marquee.data.prepared.quality import count_rows, report_quality, write_quality
from marquee.data.reading.files.locating import locate
from marquee.data.reading.rejects import require_few
from marquee.data.reading.sources import format_of
from marquee.data.reading.tables import mappings_of
from marquee.data.table_config import TableFormat
from marquee.errors import DataError
from marquee.store.files import FileFacts
from training.distributed.cluster import Cluster, TaskProgress
from training.distributed.plan import Argument, Task
from training.distributed.receipts import read_receipt, receipt_path
from training.distributed.work import remove

_HERE = "marquee.data.prepared"
_N_SHARES = 16
_N_RANGES = 16
_PARTS_OF_MANIFEST = (
    layout.BUCKETS,
    layout.SPLITS,
    layout.USERS,
    layout.ITEMS,
    layout.INDICES,
    layout.TABLES,
)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How work is cut.

    Attributes:
        n_buckets: Buckets of users; a folder keeps the number that it began with.
        rows_per_part: Rows of a Parquet file that one task reads; other files are read whole.
        renews: Read files again that have changed since they were read; else they are named.
    """

    n_buckets: int
    rows_per_part: int
    renews: bool = False


def prepare_in_parts(
    config: DataConfig, to: Path, sizes: Sizes, cluster: Cluster, progress: TaskProgress | None = None
) -> Manifest:
    """Prepares a data set into a folder, and returns its manifest; what is done already is skipped.

    Args:
        config: The data set.
        to: The folder.
        sizes: How work is cut.
        cluster: Does the tasks.
        progress: Is told how far it is.

    Raises:
        ConfigError: If the data set can only be prepared as a whole.
        DataError: If files are missing or wrong, or too many rows are rejected.
        TaskError: If a file changed since it was prepared, or a task cannot be done.
    """
    require_parts(config)
    return _Plan(config, to, sizes, cluster, progress).run()


@dataclass(frozen=True)
class _Piece:
    """Some rows of a file: the work of one task."""

    table: str
    part: str
    folders: tuple[str, ...]
    path: Path
    start: int
    n_rows: int
    name: str


class _Plan:
    """One preparation."""

    def __init__(
        self, config: DataConfig, to: Path, sizes: Sizes, cluster: Cluster, progress: TaskProgress | None
    ) -> None:
        self._config, self._to, self._sizes = config, to, sizes
        self._cluster, self._progress = cluster, progress

    def run(self) -> Manifest:
        """Does all stages."""
        # Whoever reads the folder meanwhile is told that it is not prepared.
        (self._to / MANIFEST).unlink(missing_ok=True)
        tables = self._tables()
        parts = self._parts(list(self._pieces()), tables)
        repeated = self._repeated(parts)
        # Before the costly stages: what is wrong with the files is told in minutes.
        require_few(count_rows(parts, repeated), self._config.max_rejected_fraction)
        buckets = self._buckets(parts, repeated)
        survey = self._survey(buckets)
        splits = self._splits(buckets, survey)
        bounds = read_facts(survey)
        users = self._users(splits, len(bounds["users"]) + 1)
        items = self._items(splits, bounds["items"], tables)
        self._indices(buckets, splits, users, items)
        manifest = self._manifest(splits, survey, users, items)
        counts = count_rows(parts, repeated, buckets, (sum(manifest.n_users), sum(manifest.n_items)))
        write_quality(self._to, report_quality(self._to, self._config, counts, manifest))
        manifest.write(self._to)
        return manifest

    def _run(self, stage: str, tasks: Sequence[Task]) -> list[Path]:
        """Does a stage and returns its results, in the order of the tasks."""
        self._cluster.run(stage, tasks, self._progress)
        return [task.output for task in tasks]

    def _task(
        self,
        function: str,
        output: str,
        inputs: Sequence[Path],
        *,
        renews: bool = True,
        **arguments: Argument,
    ) -> Task:
        """Returns a task of a function of `marquee.data.prepared`."""
        return Task(
            name=output,
            function=f"{_HERE}.{function}",
            output=self._to / output,
            arguments=arguments,
            inputs=tuple(inputs),
            renews=renews,
        )

    def _pieces(self) -> Iterator[_Piece]:
        """Yields the rows of all files in pieces, in the order in which they count."""
        root = Path(self._config.root)
        for table, mapping in mappings_of(EVENTS, self._config).items():
            for file in locate(mapping.config, root, EVENTS.name):
                # By name and not by number: a new file leaves the others' results where they are.
                below = file.path.relative_to(root) if file.path.is_relative_to(root) else file.path
                named = f"{table}:{file.part}:{below}".encode("utf-8", "surrogateescape")
                digest = hashlib.sha256(named).hexdigest()[:12]
                folders = tuple(f"{name}={value or ''}" for name, value in file.partition.items())
                is_cut = (
                    format_of(file.path, mapping.config, EVENTS.name) is TableFormat.parquet
                    and not mapping.apart
                )
                starts = _starts(file.path, self._sizes.rows_per_part) if is_cut else [0]
                for number, start in enumerate(starts):
                    n_rows = self._sizes.rows_per_part if len(starts) > 1 else 0
                    yield _Piece(
                        table, file.part, folders, file.path, start, n_rows, f"{digest}-{number:05d}"
                    )

    def _tables(self) -> dict[str, Path]:
        """Returns the folders of the items and the users table, validated."""
        declared = {ITEMS.name: self._config.items, USERS.name: self._config.users}
        root = Path(self._config.root)
        tasks = [
            self._task(
                "tables:validate_table",
                f"{layout.TABLES}/{name}",
                [file.path for file in locate(table, root, name)],
                declared=of_rows(self._config),
                root=str(root),
                table=name,
            )
            for name, table in declared.items()
            if table is not None
        ]
        return {path.name: path for path in self._run("tables", tasks)}

    def _parts(self, pieces: Sequence[_Piece], tables: Mapping[str, Path]) -> list[Path]:
        """Returns the folders of validated rows, in the order of the files."""
        items = tables.get(ITEMS.name)
        is_checked = items is not None and self._config.unknown_items is UnknownItems.reject
        catalog = [items / "table.arrow"] if items is not None and is_checked else []
        declared = of_rows(self._config)
        tasks = [
            self._task(
                "partitioning:partition",
                f"{layout.PARTS}/{piece.name}",
                [piece.path, *catalog],
                renews=self._sizes.renews,
                declared=declared,
                origin=[piece.table, piece.part, *piece.folders],
                rows=[piece.start, piece.n_rows],
                n_buckets=self._sizes.n_buckets,
                n_shares=_N_SHARES,
            )
            for piece in pieces
        ]
        _remove_others(self._to / layout.PARTS, {piece.name for piece in pieces})
        return self._run("reading", tasks)

    def _repeated(self, parts: Sequence[Path]) -> list[Path]:
        """Returns tables of rows whose event id an earlier row has."""
        with_ids = [number for number, part in enumerate(parts) if (part / "ids").is_dir()]
        tasks = [
            self._task(
                "repeated:find_repeated",
                f"{layout.REPEATED}/{share:05d}.arrow",
                [parts[number] / "ids" / f"{share:05d}.arrow" for number in with_ids],
                sources=with_ids,
            )
            for share in range(_N_SHARES if with_ids else 0)
        ]
        return self._run("event ids", tasks)

    def _buckets(self, parts: Sequence[Path], repeated: Sequence[Path]) -> list[Path]:
        """Returns the folders of sorted buckets."""
        tasks = [
            self._task(
                "bucketing:sort_bucket",
                numbered(layout.BUCKETS, bucket),
                [*(part / f"{bucket:05d}.arrow" for part in parts), *repeated],
                sources=list(range(len(parts))),
                deduplicate=self._config.events.deduplicate,
            )
            for bucket in range(self._sizes.n_buckets)
        ]
        return self._run("sorting", tasks)

    def _survey(self, buckets: Sequence[Path]) -> Path:
        """Returns the survey of all buckets."""
        inputs = [bucket / "times.npy" for bucket in buckets]
        inputs += [buckets[0] / "users.arrow", buckets[0] / "items.arrow"]
        task = self._task(
            "surveying:survey", layout.SURVEY, inputs, declared=as_text(self._config), n_ranges=_N_RANGES
        )
        return self._run("survey", [task])[0]

    def _splits(self, buckets: Sequence[Path], survey: Path) -> list[Path]:
        """Returns the folders with the parts of each bucket's events."""
        declared = as_text(self._config)
        tasks = [
            self._task(
                "splitting:split_bucket", numbered(layout.SPLITS, number), [bucket, survey], declared=declared
            )
            for number, bucket in enumerate(buckets)
        ]
        return self._run("splitting", tasks)

    def _users(self, splits: Sequence[Path], n_ranges: int) -> list[Path]:
        """Returns the folders of the ranges of users."""
        tasks = [
            self._task(
                "naming:name_users", numbered(layout.USERS, number), _of_range(splits, "users", number)
            )
            for number in range(n_ranges)
        ]
        _remove_others(self._to / layout.USERS, {task.output.name for task in tasks})
        return self._run("users", tasks)

    def _items(self, splits: Sequence[Path], bounds: Sequence[str], tables: Mapping[str, Path]) -> list[Path]:
        """Returns the folders of the ranges of items."""
        catalog = [tables[ITEMS.name] / "table.arrow"] if ITEMS.name in tables else []
        tasks = [
            self._task(
                "naming:name_items",
                numbered(layout.ITEMS, number),
                [*_of_range(splits, "items", number), *catalog],
                start=start,
                end=end,
            )
            for number, (start, end) in enumerate(pairwise([None, *bounds, None]))
        ]
        _remove_others(self._to / layout.ITEMS, {task.output.name for task in tasks})
        return self._run("items", tasks)

    def _indices(
        self, buckets: Sequence[Path], splits: Sequence[Path], users: Sequence[Path], items: Sequence[Path]
    ) -> None:
        """Gives users and items of all buckets their indices."""
        tasks = [
            self._task(
                "naming:index_bucket",
                numbered(layout.INDICES, number),
                [
                    bucket / "item.npy",
                    *(splits[number] / "users" / f"{place:05d}.arrow" for place in range(len(users))),
                    *(folder / f"rank-{number:05d}.npy" for folder in users),
                    *(folder / "counts.json" for folder in users),
                    *(splits[number] / "items" / f"{place:05d}.arrow" for place in range(len(items))),
                    *items,
                ],
                bucket=number,
                n_users=len(users),
                n_items=len(items),
            )
            for number, bucket in enumerate(buckets)
        ]
        self._run("indices", tasks)

    def _manifest(
        self, splits: Sequence[Path], survey: Path, users: Sequence[Path], items: Sequence[Path]
    ) -> Manifest:
        """Returns the manifest of what is there."""
        counts = [read_facts(split / "split.json") for split in splits]
        found = read_facts(survey)
        events = _added(fact["events"] for fact in counts)
        if not events["train"]:
            raise DataError(
                f"the split leaves no event to train on, got {found['n_events']} events and "
                f"{counts[0]['description']}; lower the fractions or move the cutoffs (config data.split)"
            )
        n_users, n_items = (
            [read_facts(folder / "counts.json")["counts"] for folder in folders] for folders in (users, items)
        )
        if not sum(sizes[layout.TRAINED] for sizes in n_users):
            kinds = [kind for kind, n in _added(fact["kinds"] for fact in counts).items() if n]
            raise DataError(
                f"no training event counts: got kinds {sorted(kinds)}, expected some of "
                f"{list(self._config.kinds)}; add the kind under data.kinds"
            )
        return Manifest(
            version=VERSION,
            declared=as_text(self._config),
            n_buckets=self._sizes.n_buckets,
            n_ranges=(len(users), len(items)),
            n_events=found["n_events"],
            n_users=tuple(map(sum, zip(*n_users, strict=True))),
            n_items=tuple(map(sum, zip(*n_items, strict=True))),
            events=events,
            users=_added(fact["users"] for fact in counts),
            kinds=_added(fact["kinds"] for fact in counts),
            period=(found["first"], found["last"]),
            description=counts[0]["description"],
            cutoffs=tuple(found[name] for name in ("validation", "test") if name in found),
            files=dict(self._files()),
        )

    def _files(self) -> Iterator[tuple[str, FileFacts]]:
        """Yields the files that are read, as the receipts of their tasks have them."""
        for folder in _PARTS_OF_MANIFEST:
            whole = self._to / folder
            for made in sorted(whole.glob("[!.]*")):
                receipt = read_receipt(made)
                assert receipt is not None, f"{made} must have been made by a task"
                for name, facts in receipt.files.items():
                    yield (made / name).relative_to(self._to).as_posix(), facts


def _remove_others(folder: Path, names: Collection[str]) -> None:
    """Removes results that no task makes any more: what is not asked for must not be kept."""
    for made in folder.glob("[!.]*"):
        if made.name not in names:
            # First: without a receipt what is left counts as not done.
            receipt_path(made).unlink(missing_ok=True)
            remove(made)


def _of_range(splits: Sequence[Path], what: str, number: int) -> list[Path]:
    """Returns the tables of one range of names, bucket by bucket."""
    return [split / what / f"{number:05d}.arrow" for split in splits]


def _starts(path: Path, n_rows: int) -> list[int]:
    """Returns the first row of each piece of a Parquet file."""
    try:
        n = pl.scan_parquet(path, glob=False).select(pl.len()).collect().item()
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(
            f"{EVENTS.name}: {path} cannot be read: {reason}. See whether it is whole, and written as its "
            "name or data.events.format says"
        ) from error
    return list(range(0, max(n, 1), n_rows))


def _added(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Returns the sums of counts by name."""
    total: dict[str, int] = {}
    for one in counts:
        for name, n in one.items():
            total[name] = total.get(name, 0) + n
    return total
