"""Scores the rows of a new table by the traits of a run, and writes them as CSV or parquet."""

from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import yaml

from marquee.bundle.traits.trait import read_trait
from marquee.data.table_config import TableConfig
from marquee.errors import ConfigError
from marquee.marketing.reading.customers import read_user_rows
from marquee.marketing.scoring.new_rows import score_new_rows
from marquee.store.files import replace_file
from training.cli.command import command
from training.cli.console import open_console
from training.customers.folders import FITTED, CustomersFolder


@dataclass(kw_only=True)
class ScoreConfig:
    """A run, and the table to score.

    Attributes:
        run: Folder of a run of customers, or `latest` beside it.
        path: The new table, with the columns of the run's table; the outcome may be missing.
        traits: Names of traits; empty for all that the run has fitted.
        out: File to write, `.csv` or `.parquet`; empty for `<path>.scores.csv`.
    """

    run: str
    path: str
    traits: str = ""
    out: str = ""


@command("score", ScoreConfig)
def main(config: ScoreConfig) -> None:
    """Scores the table that the config names."""
    folder = CustomersFolder.find(config.run)
    files = {file.stem: file for file in sorted((folder.path / FITTED).glob("*.json"))}
    wanted = [name.strip() for name in config.traits.split(",") if name.strip()] or list(files)
    unknown = [name for name in wanted if name not in files]
    if unknown or not wanted:
        raise ConfigError(
            f"{config.run} has fitted the traits {list(files)}, got {unknown or 'none of them'}; name one "
            "of these, or a run with a probability"
        )
    declared = yaml.safe_load((folder.path / "config.yaml").read_text(encoding="utf-8"))
    table = msgspec.convert(declared["users"] or {"path": config.path}, TableConfig)
    rows = read_user_rows(replace(table, path=config.path, paths={}), Path("."))
    scored = score_new_rows(rows, [read_trait(files[name]) for name in wanted])
    out = Path(config.out or f"{config.path}.scores.csv")
    if out.suffix == ".parquet":
        scored.write_parquet(out)
    else:
        replace_file(out, scored.write_csv().encode())
    open_console().print(f"scored {scored.height:,} rows by {', '.join(wanted)}: {out}")


if __name__ == "__main__":
    main()
