"""Scores the rows of a new table by the traits of a run of customers, and writes them as CSV or parquet."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any  # a declaration is plain YAML

import msgspec
import polars as pl
import yaml
from rich.console import Console

from marquee.bundle.traits.forms.files import FORMS, NoForm, decode_form
from marquee.bundle.traits.forms.form import Form
from marquee.bundle.traits.pseudonyms import pseudonym, pseudonym_key
from marquee.bundle.traits.trait import read_trait
from marquee.data.table_config import TableConfig
from marquee.errors import ConfigError
from marquee.marketing.reading.customers import (
    PERSONAL,
    USER_ID,
    quality_notes,
    read_consent,
    read_ids,
    read_user_rows,
)
from marquee.marketing.scoring.new_rows import score_new_rows
from marquee.marketing.sentiment.new_texts import TEXT, read_sentiment, score_new_texts
from marquee.marketing.sentiment.trait import SENTIMENTS
from marquee.store.files import replace_file
from training.customers.folders import FITTED, CustomersFolder
from training.score.config import ScoreConfig


def score_by_traits(config: ScoreConfig, console: Console) -> None:
    """Scores the table that the config names.

    Raises:
        ConfigError: If there is no such run, or it has no such trait.
        DataError: If the table cannot be scored.
    """
    folder = CustomersFolder.find(config.run)
    files: dict[str, Form] = {
        file.stem: read_trait(file) for file in sorted((folder.path / FITTED).glob("*.json"))
    }
    own, unable = list(files), dict[str, str]()
    for file in sorted((folder.path / FORMS).glob("*.json")):
        form = decode_form(file.read_bytes(), file)
        if isinstance(form, NoForm):
            unable[file.stem] = form.why
        else:
            files[file.stem] = form
    sentiments = {file.stem: file for file in sorted((folder.path / SENTIMENTS).glob("*.json"))}
    # A table of customers is no table of texts: sentiments are scored where they alone are named, or there.
    # Others than probabilities are scored where they are named: a new table need not hold what they read.
    wanted = [name.strip() for name in config.traits.split(",") if name.strip()] or own or list(sentiments)
    known: Collection[str] = sentiments if set(wanted) <= sentiments.keys() else files
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        raise ConfigError(
            f"{config.run} has fitted the traits {list(files)} and the sentiments {list(sentiments)}, got "
            f"{unknown or 'none of them'}; name traits, or one sentiment, or a run with a probability"
            f"{''.join(f'; {name} cannot score: {unable[name]}' for name in unknown if name in unable)}"
        )
    declared = yaml.safe_load((folder.path / "config.yaml").read_text(encoding="utf-8"))
    notes: list[str] = []
    if known is sentiments:
        scored = _score_texts(wanted, sentiments, declared, config.path, notes)
    else:
        table = msgspec.convert(declared["users"] or {"path": config.path}, TableConfig)
        rows = read_user_rows(
            replace(table, path=config.path, paths={}), Path("."), declared["max_rejected_fraction"], notes
        )
        agreed = read_consent(rows, declared["consent"]) == PERSONAL
        _note(notes, rows.height - int(agreed.sum()), "customers have not agreed to be scored")
        rows = _without_erased(rows.filter(agreed), declared, notes)
        scored = score_new_rows(rows, [files[name] for name in wanted])
    scored = _with_pseudonyms(scored, pseudonym_key(declared["pseudonyms"]))
    out = Path(config.out or f"{config.path}.scores.csv")
    if out.suffix == ".parquet":
        scored.write_parquet(out)
    else:
        replace_file(out, scored.write_csv().encode())
    for note in notes:
        console.print(f"note: {note}")
    console.print(f"scored {scored.height:,} rows by {', '.join(wanted)}: {out}")


def _without_erased(rows: pl.DataFrame, declared: Mapping[str, Any], notes: list[str]) -> pl.DataFrame:
    """Returns the rows of those who are not in the list of erased people that the run declares."""
    if not declared["erased"]:
        return rows
    erased = read_ids(Path(declared["root"]) / declared["erased"])
    kept = rows.filter(~pl.col(USER_ID).is_in(list(erased)))
    _note(notes, rows.height - kept.height, "rows are of erased people")
    return kept


def _with_pseudonyms(scored: pl.DataFrame, key: bytes) -> pl.DataFrame:
    """Returns scores with the ids that the run has: hashed, where it hashes them."""
    if not key:
        return scored
    hashed = [pseudonym(one, key) for one in scored[USER_ID].to_list()]
    return scored.with_columns(pl.Series(USER_ID, hashed, pl.String))


def _note(notes: list[str], n: int, why: str) -> None:
    """Adds how many were left out, where any were."""
    if n:
        notes.append(f"{n:,} {why}: left out")


def _score_texts(
    wanted: Sequence[str],
    files: Mapping[str, Path],
    declared: Mapping[str, Any],
    path: str,
    notes: list[str],
) -> pl.DataFrame:
    """Returns the probability of praise of each text of a new table."""
    if len(wanted) > 1:
        raise ConfigError(
            f"texts are scored by one sentiment at a time, got {list(wanted)}; name one in traits"
        )
    (name,) = wanted
    feedback = msgspec.convert(declared["traits"][name]["feedback"], TableConfig)
    # Labels and moments teach and tell; neither is needed for a score.
    columns = {key: value for key, value in feedback.columns.items() if key in (USER_ID, TEXT)}
    table = replace(feedback, path=path, paths={}, columns=columns)
    scored, quality = score_new_texts(name, read_sentiment(files[name]), table, Path("."))
    notes += quality_notes(quality)
    return _without_erased(scored, declared, notes)
