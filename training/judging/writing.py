"""Writes what a run found: a page for people, Markdown for a pull request, JSON for programs."""

import hashlib
import json
import platform
import resource
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf

from marquee.data.reading.quality import QualityReport
from marquee.evaluation.analyses.retraining import RetrainingSeries
from marquee.evaluation.comparison import JudgedUsers, target_checksums
from marquee.reports import (
    Part,
    Protocol,
    ReportContent,
    curves_from_rows,
    pick_samples,
    write_report,
)
from marquee.store.files import replace_file
from training.config import TrainConfig, as_plain
from training.fitting.callbacks import MONITOR, read_epochs
from training.fitting.fit import EPOCHS_FILE
from training.judging.ageing import absences, age
from training.judging.cautions import (
    availability_cautions,
    count_reading,
    data_cautions,
    leakage_checks,
    reading_cautions,
    split_cautions,
)
from training.judging.compare import USERS_FILE
from training.judging.describe import item_labels
from training.judging.judge import Judgement
from training.runs.folders import BACKTEST, LEARNING_CURVE, RunFolder
from training.runs.prepare import Prepared

EVALUATION_FILE = "evaluation.json"
PACKAGES = ("marquee", "torch", "lightning", "numpy", "polars", "faiss-cpu", "onnxruntime")
MEBIBYTE = 2**20
# 64 bits tell any two data sets apart; people must be able to compare them.
_FINGERPRINT_DIGITS = 16


def report(prepared: Prepared, judgement: Judgement, config: TrainConfig, folder: RunFolder) -> Path:
    """Writes the report of a judged run into its folder and returns the path of the page."""
    # Before anything else: a report that fails on the way has been read all the same.
    n_readings = count_reading(folder.path, judgement.part_name)
    epochs = read_epochs(folder.path / EPOCHS_FILE)
    # Epochs that were not ranked have no number.
    ranked = [row for row in epochs if row[MONITOR]]
    best = max(ranked, key=lambda row: float(row[MONITOR]), default=None)
    protocol = _protocol(prepared, judgement, config, sum(float(row["seconds"]) for row in epochs))
    ageing = age(prepared, judgement, config)
    content = ReportContent(
        title=config.data.name,
        protocol=protocol,
        evaluation=judgement.evaluation,
        headline=f"ndcg@{config.evaluation.headline_k}",
        left_out=judgement.left_out,
        beyond_accuracy=judgement.beyond_accuracy,
        slices=judgement.slices,
        served=judgement.served,
        inspection=judgement.inspection,
        outcomes=judgement.outcomes,
        objective=judgement.objective,
        unjudged=judgement.unjudged,
        fairness=judgement.fairness,
        ageing=ageing,
        backtest=_read_retrainings(folder, BACKTEST),
        learning_curve=_read_retrainings(folder, LEARNING_CURVE),
        absent=absences(prepared, config, folder, judgement.part_name, has_aged=ageing is not None),
        cautions=(
            *split_cautions(prepared.split, config.data.time, judgement.part_name),
            *data_cautions(folder.path, protocol.fingerprint, protocol.split),
            *availability_cautions(prepared.dataset),
            *reading_cautions(judgement.part_name, n_readings),
        ),
        curves=curves_from_rows(epochs, step="epoch"),
        best_step=None if best is None else float(best["epoch"]),
        quality=tuple(prepared.quality.summary_lines()),
        samples=pick_samples(
            judgement.evaluation,
            judgement.part.targets,
            judgement.part.seen,
            judgement.part.user_ids,
            item_labels(prepared.dataset),
            np.random.default_rng(config.seed),
        ),
        config=OmegaConf.to_yaml(OmegaConf.create(as_plain(config))),
    )
    # Users before numbers and page: whoever finds these can compare the run.
    _judged_users(prepared, judgement, content).write(folder.path / USERS_FILE)
    numbers = {
        "part": judgement.part_name,
        "headline_metrics": judgement.headline(config.evaluation.headline_k),
        **content.to_json_dict(),
    }
    replace_file(folder.path / EVALUATION_FILE, json.dumps(numbers, indent=1).encode())
    return write_report(content, folder.path)


def _judged_users(prepared: Prepared, judgement: Judgement, content: ReportContent) -> JudgedUsers:
    """Returns the metrics of each user, for comparisons with other runs."""
    evaluation, part = judgement.evaluation, judgement.part
    values = evaluation.models[evaluation.model].values
    return JudgedUsers(
        model=evaluation.model,
        dataset=content.protocol.dataset,
        fingerprint=content.protocol.fingerprint,
        split=content.protocol.split,
        part=judgement.part_name,
        n_items=prepared.dataset.n_items,
        headline=content.headline,
        user_ids=tuple(part.user_ids[query] for query in evaluation.query_index),
        targets=target_checksums(part.targets, evaluation.query_index, ["", *prepared.dataset.item_ids.ids]),
        # Group metrics are of fewer users, and cannot be paired with those of all.
        values={name: of_users for name, of_users in values.items() if "|" not in name},
    )


def _read_retrainings(folder: RunFolder, name: str) -> RetrainingSeries | None:
    """Returns the retrainings that were made for this run, if any were."""
    path = folder.trials_file(name)
    if not path.is_file():
        return None
    return RetrainingSeries.from_json_dict(json.loads(path.read_text(encoding="utf-8")))


def peak_memory_mb() -> float:
    """Returns the largest resident memory of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes, Linux KiB.
    return peak / MEBIBYTE if sys.platform == "darwin" else peak * 1024 / MEBIBYTE


def _protocol(
    prepared: Prepared, judgement: Judgement, config: TrainConfig, train_seconds: float
) -> Protocol:
    """Returns how the numbers came about."""
    split = prepared.split
    parts = (("train", split.train), ("validation", split.validation), ("test", split.test))
    versions = {package: version(package) for package in PACKAGES}
    return Protocol(
        dataset=config.data.name,
        split=split.description,
        parts=tuple(
            Part(name, events["user_id"].n_unique(), events["item_id"].n_unique(), len(events))
            for name, events in parts
        ),
        judged_on=judgement.part_name,
        exclude_seen=config.evaluation.exclude_seen,
        seed=config.seed,
        fingerprint=_fingerprint(prepared.quality),
        versions={"python": platform.python_version(), **versions},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        train_seconds=train_seconds,
        evaluate_seconds=judgement.seconds,
        peak_memory_mb=peak_memory_mb(),
        checks=leakage_checks(split, config.data.split),
    )


def _fingerprint(quality: QualityReport) -> str:
    """Returns a checksum of every byte that was read."""
    digest = hashlib.sha256()
    # Sorted and each once: the checksum must not depend on the order of reading.
    for path in sorted({path for table in quality.tables for path in table.files}):
        with Path(path).open("rb") as file:
            # A digest of digests: bytes that move from one file to the next change it.
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"sha256:{digest.hexdigest()[:_FINGERPRINT_DIGITS]}"
