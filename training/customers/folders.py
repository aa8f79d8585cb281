"""Run folders of customers: what a run writes, and what the next run reads of it."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from marquee.bundle.traits.forms.files import FORMS, encode_form
from marquee.bundle.traits.run import AudienceFacts, RunManifest, write_run_manifest
from marquee.bundle.traits.trait import write_trait
from marquee.errors import ConfigError
from marquee.marketing.audiences.changes import REMOVED, state_of, to_lines
from marquee.marketing.audiences.members import GROUP, Audience
from marquee.marketing.reading.customers import USER_ID, declared_yaml
from marquee.marketing.running import CustomersResult, Previous
from marquee.store.files import replace_file

LATEST_FILE = "latest"
TRAITS_FILE = "traits.parquet"
AUDIENCES, FITTED = "audiences", "traits"
_STARTED = "%Y%m%d-%H%M%S-%f"


@dataclass(frozen=True)
class CustomersFolder:
    """One run on disk.

    Attributes:
        path: `<out>/<name>/<UTC time of the start>`.
    """

    path: Path

    @classmethod
    def open(cls, out: str, name: str) -> "CustomersFolder":
        """Returns a new folder."""
        started = datetime.now(UTC).strftime(_STARTED)[:-3]
        folder = cls(Path(out) / name / started)
        # No `exist_ok`: two runs in one folder would write over each other.
        folder.path.mkdir(parents=True)
        return folder

    @classmethod
    def find(cls, path: str) -> "CustomersFolder":
        """Returns the run at a path; `latest` stands for the folder that it names.

        Raises:
            ConfigError: If there is no run.
        """
        found = Path(path)
        if found.is_file():
            found = found.parent / found.read_text(encoding="utf-8").strip()
        if not (found / TRAITS_FILE).is_file():
            raise ConfigError(
                f"{path} is no run of customers, it has no {TRAITS_FILE}; name the folder that the command "
                "wrote, such as runs/customers/churn/latest"
            )
        return cls(found.resolve())

    @classmethod
    def last(cls, out: str, name: str) -> "CustomersFolder | None":
        """Returns the last run of a name that came to its end; None if there is none."""
        pointer = Path(out) / name / LATEST_FILE
        return cls.find(str(pointer)) if pointer.exists() else None

    def previous(self, audiences: Mapping[str, object]) -> Previous:
        """Returns the members and traits that the next run compares with."""
        members = {}
        for name in audiences:
            file = self._last_members(name)
            if file is not None:
                with file.open(encoding="utf-8", newline="") as lines:
                    members[name] = {row[USER_ID]: row[GROUP] for row in csv.DictReader(lines)}
        return Previous(self.path.name, members, pl.read_parquet(self.path / TRAITS_FILE))

    def _last_members(self, audience: str) -> Path | None:
        """Returns the last list of an audience that was written: whoever receives lists still has it."""
        runs = [run for run in self.path.parent.iterdir() if run.is_dir() and run.name <= self.path.name]
        # A run that refused the audience wrote none, and the one before it still holds.
        for run in sorted(runs, reverse=True):
            file = run / AUDIENCES / f"{audience}.csv"
            if file.is_file() and not run.is_symlink():
                return file
        return None

    def write(self, result: CustomersResult, declared: str, pseudonyms: str = "", consent: str = "") -> None:
        """Writes everything but the report.

        Args:
            result: Of the run.
            declared: The config, as YAML.
            pseudonyms: Variable of the environment with the key of ids; empty for plain ids.
            consent: Column of what customers agreed to; empty if there is none.
        """
        replace_file(self.path / "config.yaml", declared.encode())
        replace_file(self.path / "columns.yaml", declared_yaml(result.customers).encode())
        (self.path / FITTED).mkdir()
        for trait in result.traits:
            if trait.fitted is not None and not trait.refused:
                write_trait(trait.fitted, self.path / FITTED / f"{trait.name}.json")
            form = {} if trait.form is None or trait.refused else {f"{FORMS}/{trait.name}.json": trait.form}
            for name, content in {
                **trait.files,
                **{path: encode_form(one) for path, one in form.items()},
            }.items():
                (self.path / name).parent.mkdir(exist_ok=True)
                replace_file(self.path / name, content)
        (self.path / AUDIENCES).mkdir()
        for audience in result.audiences:
            file = self.path / AUDIENCES / f"{audience.name}.csv"
            if not audience.refused:
                replace_file(file, audience.members.write_csv().encode())
            if audience.name in result.changes:
                lines = to_lines(result.changes[audience.name])
                replace_file(file.with_suffix(".changes.jsonl"), lines.encode())
        for name, converted in result.converted.items():
            lines = "".join(f"{one}\n" for one in converted)
            replace_file(self.path / AUDIENCES / f"{name}.converted.txt", lines.encode())
        result.rows.write_parquet(self.path / TRAITS_FILE)
        # Last: a run that was interrupted has none, and is served by nobody.
        write_run_manifest(self.path, self._manifest(result, pseudonyms, consent))

    def _manifest(self, result: CustomersResult, pseudonyms: str, consent: str) -> RunManifest:
        """Returns the manifest of the run, without its files."""
        started = datetime.strptime(f"{self.path.name}000 +0000", f"{_STARTED} %z")
        return RunManifest(
            name=self.path.parent.name,
            version=result.version,
            started=int(started.timestamp()),
            as_of=result.customers.as_of,
            columns=result.customers.rows.columns,
            refused={trait.name: trait.refused for trait in result.traits if trait.refused},
            audiences={one.name: _facts(one, result) for one in result.audiences},
            files={},
            pseudonyms=pseudonyms,
            consent=consent,
        )

    def become_latest(self) -> None:
        """Makes `latest` beside the folder name it."""
        pointer = self.path.parent / LATEST_FILE
        beside = pointer.with_name(f".{LATEST_FILE}-{self.path.name}")
        try:
            beside.symlink_to(self.path.name, target_is_directory=True)
        except OSError:  # file systems and accounts without links
            beside.write_text(self.path.name, encoding="utf-8")
        # Renamed into place: at no moment is there no `latest`.
        beside.replace(pointer)


def _facts(audience: Audience, result: CustomersResult) -> AudienceFacts:
    """Returns the facts of an audience that a service is told."""
    before = result.previous.members.get(audience.name, {})
    gone = {change.user_id for change in result.changes[audience.name] if change.change == REMOVED}
    # Of a refused audience the last list holds, but for those who were removed.
    now = (
        {one: group for one, group in before.items() if one not in gone}
        if audience.refused
        else dict(audience.members.select(USER_ID, GROUP).iter_rows())
    )
    return AudienceFacts(audience.members.height, state_of(before), state_of(now), audience.refused)
