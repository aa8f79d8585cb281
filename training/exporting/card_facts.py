"""Reads the facts of a card: from the files of a run, from its model, and from reports of evidence."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any  # of JSON

import numpy as np
import polars as pl
from omegaconf import OmegaConf
from rich.console import Console

from marquee.core.arrays import Float64Array
from marquee.errors import ConfigError, DataError
from marquee.evaluation.analyses.fairness import GroupGaps, measure_gaps
from marquee.evaluation.comparison import JudgedUsers
from marquee.evaluation.leaks import Leak, audit_leak
from marquee.nn.embed import embed_catalog, embed_queries
from marquee.reports.evidence.card import CardFacts
from training.config import TrainConfig, as_plain
from training.fitting.fit import load_model
from training.judging.compare import USERS_FILE
from training.judging.writing import EVALUATION_FILE
from training.runs.folders import RunFolder
from training.runs.prepare import QUALITY_FILE, prepare_trained

Read = dict[str, Any]  # Any: of JSON that this project wrote itself
OBJECTIVE_KEYS = ("model", "loss", "negatives", "examples")


def read_facts(
    folder: RunFolder,
    protected: Sequence[str],
    drift: str,
    experiments: Sequence[str],
    console: Console,
) -> CardFacts:
    """Reads the facts of a card.

    Args:
        folder: Of the run.
        protected: Columns of the users table to measure gaps by and to audit; empty for those that the run
            was judged by.
        drift: Path of `drift.json`; empty for none.
        experiments: Paths of `experiment.json`.
        console: Shows progress.

    Raises:
        ConfigError: If the run was not judged, or a report is missing.
        DataError: If the users table lacks a protected column.
    """
    judged, quality = _read(folder.path / EVALUATION_FILE), _read(folder.path / QUALITY_FILE)
    config = folder.read_config()
    columns = protected or config.evaluation.protected
    gaps, leaks, unaudited = _groups(folder, config, columns, judged["headline"], console)
    protocol = judged["protocol"]
    return CardFacts(
        name=protocol["dataset"],
        run=folder.path.name,
        created=protocol["created"],
        objective=_objective(config, judged.get("objective")),
        protocol=_protocol(protocol),
        n_events=int(quality["events"]["kept"]),
        rejected=int(quality["events"]["rejected"]),
        verdict=judged["verdict"]["sentence"],
        metrics=_metrics(judged),
        headline=judged["headline"],
        slices=judged["slices"]["worst"] if judged["slices"] else (),
        cautions=judged["warnings"],
        gaps=gaps,
        leaks=leaks,
        unaudited=unaudited,
        drift=_read(Path(drift))["alarms"] if drift else None,
        experiments=dict(_experiment(Path(path)) for path in experiments),
    )


def _read(path: Path) -> Read:
    """Returns a JSON file that another command wrote.

    Raises:
        ConfigError: If it is not there, or no JSON.
    """
    try:
        read: Read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the card needs {path}, got {error}; run the command that writes it first (training.evaluate, "
            "training.monitor, training.experiment)"
        ) from error
    return read


def _objective(config: TrainConfig, judged: Read | None) -> str:
    """Returns the objective as configured, with the worths that the run was judged by."""
    plain = as_plain(config)
    chosen = {key: plain[key] for key in OBJECTIVE_KEYS if key in plain}
    data = plain["data"]
    chosen["kinds"] = data["kinds"] if isinstance(data, Mapping) else None
    if judged is not None:
        chosen["objective"] = judged["worths"]
    return OmegaConf.to_yaml(OmegaConf.create(chosen)).rstrip()


def _protocol(protocol: Read) -> dict[str, str]:
    """Returns how the numbers came about, fact → value."""
    facts = {
        "split": protocol["split"],
        "judged on": protocol["judged_on"],
        "data fingerprint": protocol["fingerprint"],
        "seed": str(protocol["seed"]),
    }
    facts |= {
        f"{part['name']} events, users": f"{part['n_events']:,}, {part['n_users']:,}"
        for part in protocol["parts"]
    }
    return facts | {f"check {number}": said for number, said in enumerate(protocol["checks"], start=1)}


def _metrics(judged: Read) -> dict[str, str]:
    """Returns model → headline metric with its interval."""
    found = {}
    for name, model in judged["evaluation"]["models"].items():
        value = model["metrics"][judged["headline"]]
        found[name] = f"{value['mean']:.4f} ({value['low']:.4f} to {value['high']:.4f})"
    return found


def _experiment(path: Path) -> tuple[str, list[str]]:
    """Returns the name of an experiment and the verdict on each arm."""
    read = _read(path)
    return read["name"], [f"{arm['arm']}: {arm['verdict']['conclusion']}" for arm in read["arms"]]


def _groups(
    folder: RunFolder, config: TrainConfig, protected: Sequence[str], headline: str, console: Console
) -> tuple[list[GroupGaps], list[Leak], dict[str, str]]:
    """Returns gaps and leaks by protected column, and why a column could not be audited."""
    if not protected:
        return [], [], {}
    prepared = prepare_trained(config, folder.path, console)
    # The part that the numbers of the card are of.
    part = prepared.test if config.evaluation.test and prepared.test is not None else prepared.validation
    users = prepared.dataset.query_features.users
    if part is None or users is None:
        raise DataError(
            f"protected={list(protected)} needs a users table and a judged part, got "
            f"{'no users table' if users is None else 'no user to judge'}; leave protected out"
        )
    missing = [name for name in protected if name not in users.columns]
    if missing:
        raise DataError(f"the users table has no column {missing[0]!r}, it has {users.columns}")
    with console.status("reading user vectors"):
        model = load_model(prepared.dataset, config, folder.checkpoint)
        # (n_queries, dim)
        vectors = embed_queries(model, embed_catalog(model), part.queries).astype(np.float64)
    judged = JudgedUsers.read(folder.path / USERS_FILE)
    gaps: list[GroupGaps] = []
    leaks: list[Leak] = []
    unaudited: dict[str, str] = {}
    for name in protected:
        gaps.append(
            measure_gaps(name, headline, _values(judged, headline), _column(users, name, judged.user_ids))
        )
        try:
            # Anew for each column: its result must not depend on which columns stand before it.
            generator = np.random.default_rng(config.seed)
            leaks += audit_leak(vectors, name, _column(users, name, part.user_ids), generator)
        # Too few users of a group say nothing: the card says so, and goes on with the other columns.
        except DataError as error:
            unaudited[name] = str(error)
    return gaps, leaks, unaudited


def _values(judged: JudgedUsers, headline: str) -> Float64Array:
    """Returns the headline metric of each judged user."""
    return judged.values[headline]


def _column(users: pl.DataFrame, name: str, user_ids: Sequence[str]) -> list[object]:
    """Returns a column of the users table for these users; None where one has no row."""
    asked = pl.DataFrame({"user_id": list(user_ids)}, schema={"user_id": pl.String})
    # In the order of the question: the values stand beside metrics and vectors by place.
    joined = asked.join(users.select("user_id", name), on="user_id", how="left", maintain_order="left")
    return list(joined[name].to_list())
