"""A whole run on a small market: what its report says of probabilities and slices, and what its gate does."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from marquee.core.arrays import FloatArray
from marquee.core.ids import PADDING_INDEX
from marquee.data.config import DataConfig
from marquee.data.exposures import read_exposures, request_queries
from marquee.evaluation.probabilities.metrics import auc, log_loss
from marquee.nn.architectures import TwoTowerConfig
from marquee.nn.embed import embed_catalog, embed_queries
from marquee.nn.losses import BPRConfig, SampledSoftmaxConfig
from marquee.nn.models import TwoTower
from marquee.nn.negatives import MixedNegativesConfig
from marquee.nn.optimizers import LazyAdamConfig
from marquee.world import World, WorldConfig, simulate
from tests.support.small_data import write_tiny_world
from training.config import ExamplesConfig, TrainConfig, TrainerConfig
from training.fitting.fit import load_model
from training.judging import outcomes
from training.judging.judge import Judgement, judge
from training.runs.folders import RunFolder
from training.runs.prepare import Prepared, prepare
from training.train import train


@dataclass(frozen=True)
class Judged:
    """A finished run, and its parts once more."""

    world: World
    config: TrainConfig
    folder: RunFolder
    prepared: Prepared
    model: TwoTower
    item_vectors: FloatArray
    judgement: Judgement
    report: dict[str, object]

    def page(self) -> str:
        return (self.folder.path / "report.html").read_text(encoding="utf-8")


def _config(data: DataConfig, runs: Path) -> TrainConfig:
    return TrainConfig(
        runs=str(runs),
        data=data,
        model=TwoTowerConfig(dim=8, hidden=8),
        loss=SampledSoftmaxConfig(),
        negatives=MixedNegativesConfig(n_uniform=20),
        optimizer=LazyAdamConfig(learning_rate=0.02),
        examples=ExamplesConfig(batch_size=64),
        trainer=TrainerConfig(epochs=1, accelerator="cpu"),
    )


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    folder, console = tmp_path_factory.mktemp("judged"), Console(quiet=True)
    world = simulate(
        WorldConfig(seed=3, n_days=40, n_users=500, n_content=60, n_ads=20, n_campaigns=4, n_advertisers=2)
    )
    config = _config(write_tiny_world(world, folder / "world"), folder / "runs")
    run = train(config, console)
    prepared = prepare(config, run.path, console)
    model = load_model(prepared.dataset, config, run.checkpoint)
    return Judged(
        world=world,
        config=config,
        folder=run,
        prepared=prepared,
        model=model,
        item_vectors=embed_catalog(model),
        judgement=judge(prepared, model, config, console),
        report=json.loads((run.path / "evaluation.json").read_text(encoding="utf-8")),
    )


def test_every_exposure_finds_its_click_and_its_true_probability(judged: Judged) -> None:
    split = judged.prepared.split
    dataset = judged.prepared.dataset
    exposures = read_exposures(split.test, dataset.item_ids)
    queries, request = request_queries(dataset, exposures, split.train)
    clicked = {
        (row["request_id"], row["item_id"]) for row in split.test.filter(pl.col("kind") == "click").to_dicts()
    }
    rows = exposures.frame.to_dicts()
    assert exposures.is_clicked.tolist() == [(r["request_id"], r["item_id"]) in clicked for r in rows]
    assert 0 < exposures.is_clicked.sum() <= len(clicked)
    row = rows[7]
    asked = judged.prepared.dataset.judged_part(
        split.train, exposures.frame[7:8].with_columns(kind=pl.lit("view"))
    )
    item = judged.prepared.dataset.item_ids.encode([row["item_id"]])
    score = embed_queries(judged.model, judged.item_vectors, asked.queries)[0] @ judged.item_vectors[item[0]]
    embedded = embed_queries(judged.model, judged.item_vectors, queries)
    assert embedded[request[7]] @ judged.item_vectors[item[0]] == pytest.approx(score, abs=1e-5)


def test_no_head_for_clicks_beats_the_truth_and_place_matters(judged: Judged) -> None:
    _, click = judged.judgement.outcomes
    exposures = judged.prepared.events.filter(pl.col("kind") == "exposure")
    truth = dict(zip(exposures["event_id"], judged.world.exposure_click_probability, strict=True))
    test = judged.prepared.split.test
    shown = test.filter(pl.col("kind") == "exposure").unique(["request_id", "item_id"])
    clicks = test.filter(pl.col("kind") == "click").select("request_id", "item_id", hit=pl.lit(True)).unique()
    shown = shown.join(clicks, on=["request_id", "item_id"], how="left")
    outcome = shown["hit"].fill_null(False).to_numpy()
    true_probability = np.array([truth[event] for event in shown["event_id"]])
    own, *others = click.sources
    assert own.name == "score and place"
    assert own.n == len(outcome)
    assert own.metrics["log_loss"].mean > log_loss(true_probability, outcome)
    assert 0.5 < own.metrics["auc"].mean < auc(true_probability, outcome)
    by_name = {source.name: source for source in others}
    assert by_name["place alone"].metrics["auc"].low > 0.5
    assert by_name["mean rate"].metrics["auc"].mean == 0.5
    assert own.mean_probability == pytest.approx(float(true_probability.mean()), rel=0.25)


def test_probabilities_of_the_next_item_are_a_softmax_over_what_may_be_returned(judged: Judged) -> None:
    next_item, _ = judged.judgement.outcomes
    evaluation, part = judged.judgement.evaluation, judged.judgement.part
    said, came = 0.0, 0
    scores = embed_queries(judged.model, judged.item_vectors, part.queries) @ judged.item_vectors.T / 0.2
    times = part.target_times
    assert times is not None
    for query in evaluation.query_index.tolist():
        allowed = np.arange(scores.shape[1]) != PADDING_INDEX
        allowed[part.seen.item_index[part.seen.offsets[query] : part.seen.offsets[query + 1]]] = False
        if part.available is not None:
            everything = np.arange(scores.shape[1])
            allowed &= part.available.allows(np.full_like(everything, query), everything)
        probability = np.where(allowed, np.exp(scores[query] - scores[query][allowed].max()), 0.0)
        probability /= probability.sum()
        listed = evaluation.models["model"].lists.items[query, :10]
        listed = listed[listed != PADDING_INDEX]
        said += probability[listed].sum()
        rows = slice(part.targets.offsets[query], part.targets.offsets[query + 1])
        wanted = [item for item in part.targets.item_index[rows].tolist() if item == 0 or allowed[item]]
        came += wanted[0] in listed.tolist()
    (source,) = next_item.sources
    assert source.mean_probability == pytest.approx(said / source.n, rel=1e-4)
    assert source.n_true == came


def test_a_loss_without_probabilities_and_events_without_requests_are_named_in_a_line(judged: Judged) -> None:
    config = _config(judged.config.data, Path("runs"))
    config.loss = BPRConfig()
    split = judged.prepared.split
    bare = {name: getattr(split, name).drop("request_id") for name in ("train", "validation", "test")}
    prepared = Prepared(**{**vars(judged.prepared), "split": type(split)(**{**vars(split), **bare})})
    found, reasons = outcomes.judge_outcomes(
        prepared,
        judged.judgement.part,
        judged.judgement.evaluation,
        judged.model,
        judged.item_vectors,
        config,
    )
    assert found == ()
    loss, requests = reasons
    assert loss.startswith("The model gives no probability of the next item: its loss (BPRConfig)")
    assert "events have no column request_id" in requests


def test_the_validation_part_judges_heads_that_its_earlier_half_taught(judged: Judged) -> None:
    config = _config(judged.config.data, Path("runs"))
    config.evaluation.test = False
    judgement = judge(judged.prepared, judged.model, config, Console(quiet=True))
    click = judgement.outcomes[1]
    assert "of the earlier half of the validation part; the later half is judged" in click.meaning


def test_every_form_of_the_report_has_probabilities_slices_and_protocol(judged: Judged) -> None:
    markdown = (judged.folder.path / "report.md").read_text(encoding="utf-8")
    page, numbers = judged.page(), json.dumps(judged.report, ensure_ascii=False)
    for text in (page, markdown, numbers):
        for outcome in judged.judgement.outcomes:
            assert outcome.sentence in text
        assert "device (request)" in text
        for sentence in judged.judgement.slices.worst:
            assert sentence in text
    assert page.count("said and came: ") >= 3  # a reliability curve each
    assert "item: title (a text is not sliced)" in page
    assert "item: title (a text is not sliced)" in markdown


def _evaluate(judged: Judged, *arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "training.evaluate", f"run={judged.folder.path}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    return done.returncode, done.stdout + done.stderr


def test_the_gate_exits_with_the_reason_of_every_guardrail_that_does_not_hold(judged: Judged) -> None:
    some = next(name for name in judged.judgement.numbers() if name.startswith("ndcg@10|user: "))[8:]
    rails = {
        "floor": "{metric: recall@10, at_least: 0.999}",
        "clicks": "{metric: click/calibration_error, at_most: 0.0}",
        "some": f"{{metric: ndcg@10, slice: '{some}', at_least: 0.999}}",
        "feed": "{metric: click/auc, slice: 'surface = feed', at_least: 0.999}",
        "baseline": "{metric: ndcg@10, against: popularity, margin: -0.999}",
        "fine": "{metric: click/auc, at_least: 0.01}",
    }
    declared = ", ".join(f"{name}: {rail}" for name, rail in rails.items())
    status, said = _evaluate(judged, f"+gate.guardrails={{{declared}}}")
    assert status == 1
    for name in rails:
        assert (f"not passed: {name}: " in said) is (name != "fine"), said
