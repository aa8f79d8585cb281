"""A trained run judged beside bundles that are and are not what was judged, and stopped in the middle."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from marquee.bundle.clicks.contents import HEAD_FILES
from marquee.bundle.manifest import INDEX_FILE, MANIFEST, Manifest
from marquee.core.arrays import FloatArray
from marquee.core.catalog import ItemKind
from marquee.data.splits import SplitConfig, SplitMethod
from marquee.data.table_config import TableConfig
from marquee.decision.golden_requests import read_golden_requests, validate_golden_requests
from marquee.decision.policies.config import PolicyName
from marquee.decision.recommender import Recommender
from marquee.decision.reranking import Diversity, Reranking
from marquee.errors import ConfigError, DataError, LeakageError
from marquee.evaluation.analyses.served import ServedComparison
from marquee.evaluation.analyses.served_surfaces import SurfaceRules
from marquee.evaluation.baselines import BaselinesConfig
from marquee.evaluation.drift.config import DriftConfig
from marquee.evaluation.off_policy.estimators import Estimator
from marquee.evaluation.off_policy.policy import PolicyOnLogConfig
from marquee.index.faiss_index import AnnIndex, IndexConfig, IndexKind
from marquee.index.index import Index
from marquee.nn.architectures import TwoTowerConfig
from marquee.nn.losses import SampledSoftmaxConfig
from marquee.nn.negatives import MixedNegativesConfig
from marquee.nn.optimizers import LazyAdamConfig
from marquee.nn.probabilities import LogisticConfig
from marquee.store.files import FileFacts
from marquee.world import World
from tests.support.bundles import publish_tiny
from tests.support.paths import ROOT
from tests.support.small_data import write_tiny_world
from training.config import EvaluationConfig, ExamplesConfig, TrainConfig, TrainerConfig
from training.evaluate import EvaluateConfig, evaluate_run
from training.export import ExportConfig, export
from training.fitting.fit import fit, load_model
from training.fitting.probabilities.run import HeadOfRun, fit_head_of_run
from training.judging.gate import GateConfig, GuardrailConfig
from training.judging.judge import Judgement, judge, with_served
from training.monitor.log import watch_log
from training.off_policy.run import estimate_run
from training.off_policy.served import estimate_served
from training.runs.folders import RunFolder
from training.runs.prepare import Prepared, prepare
from training.train import train

QUIET = Console(quiet=True)
# Asked by its graph in the smallest catalog, and not for all of it.
GRAPH = IndexConfig(kind=IndexKind.hnsw, max_ann_cost=1e9, ef_search=10, candidates_per_item=1)


@dataclass(frozen=True)
class Judged:
    """A run, how it was judged, and its bundle."""

    config: TrainConfig
    run: RunFolder
    prepared: Prepared
    judgement: Judgement
    bundle: Path

    def served(self, bundle: Path) -> ServedComparison:
        """Asks a bundle for the judged users and returns the comparison."""
        served = with_served(self.judgement, str(bundle), self.prepared, self.config).served
        assert served is not None
        return served


def _config(folder: Path, world: World, seed: int) -> TrainConfig:
    return TrainConfig(
        seed=seed,
        runs=str(folder / "runs"),
        data=write_tiny_world(world, folder / "world"),
        model=TwoTowerConfig(dim=8, hidden=8),
        loss=SampledSoftmaxConfig(),
        negatives=MixedNegativesConfig(n_uniform=20),
        optimizer=LazyAdamConfig(learning_rate=0.02),
        examples=ExamplesConfig(batch_size=32),
        trainer=TrainerConfig(epochs=2, accelerator="cpu"),
        evaluation=EvaluationConfig(ks=[10], baselines=BaselinesConfig(als=False)),
        probabilities=LogisticConfig(steps=20, epochs=1),
    )


def _exported(run: RunFolder, folder: Path) -> Path:
    return export(ExportConfig(run=str(run.path), bundles=str(folder), index=GRAPH), QUIET)


@pytest.fixture(scope="module")
def judged(tiny_world: World, tmp_path_factory: pytest.TempPathFactory) -> Judged:
    folder = tmp_path_factory.mktemp("judged")
    config = _config(folder, tiny_world, seed=1)
    run = RunFolder.open(config)
    prepared = prepare(config, run.path, QUIET)
    model = fit(prepared.dataset, prepared.validation, config, run.path).model
    assert isinstance(fit_head_of_run(prepared.dataset, prepared.split, model, config, run.path), HeadOfRun)
    judgement = judge(prepared, model, config, QUIET)
    return Judged(config, run, prepared, judgement, _exported(run, folder / "bundles"))


def _tampered(bundle: Path, folder: Path, name: str, change: Callable[[FloatArray], bytes]) -> Path:
    """Returns a sound copy of a bundle in which one file was made anew from the item vectors."""
    copy = folder / bundle.name
    shutil.copytree(bundle, copy)
    written = change(np.load(bundle / "item_vectors.npy"))
    (copy / name).write_bytes(written)
    manifest = Manifest.from_json((bundle / MANIFEST).read_bytes())
    facts = FileFacts(sha256(written).hexdigest(), len(written))
    manifest = replace(manifest, files={**manifest.files, name: facts})
    (copy / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return copy


def _saved(array: FloatArray) -> bytes:
    file = BytesIO()
    np.save(file, np.ascontiguousarray(array))
    return file.getvalue()


def _flipped_graph(vectors: FloatArray) -> bytes:
    """Returns a graph over the vectors with their signs turned: its best is the worst."""
    file = BytesIO()
    Index(vectors, GRAPH, AnnIndex.build(-vectors, GRAPH)).write(file)
    return file.getvalue()


def test_what_is_served_is_what_was_judged(judged: Judged) -> None:
    served = judged.served(judged.bundle)
    assert not served.deviations
    assert (served.identical_fraction, served.overlap) == (1.0, 1.0)
    assert judged.judgement.evaluation.counts.mean_items_unavailable > 0
    sweep = served.index_sweep
    assert sweep is not None
    assert (sweep.kind, sweep.parameter, sweep.chosen) == ("hnsw", "ef_search", GRAPH.ef_search)


def test_bundle_of_a_run_carries_its_head_and_rehearses_it(judged: Judged) -> None:
    recommender = Recommender.load(judged.bundle)
    assert set(recommender.bundle.manifest.files) >= HEAD_FILES
    golden = read_golden_requests(recommender.bundle)
    assert all(len(one.probabilities) == len(one.item_ids) > 0 for one in golden)
    validate_golden_requests(recommender)


@pytest.mark.parametrize(("margin", "n_reasons"), [(0.0, 0), (-0.001, 1)], ids=["as good", "to be won"])
def test_gate_ranks_the_served_bundle_on_the_same_events(
    judged: Judged, margin: float, n_reasons: int
) -> None:
    manifest = Manifest.from_json((judged.bundle / MANIFEST).read_bytes())
    assert "test/ndcg@10" not in manifest.metrics, "the run was never evaluated: its numbers are nowhere"
    rail = GuardrailConfig(metric="ndcg@10", against="bundle", margin=margin)
    gate = GateConfig(bundle=str(judged.bundle), guardrails={"served": rail})
    reasons = evaluate_run(EvaluateConfig(run=str(judged.run.path), gate=gate), [], QUIET).reasons
    assert len(reasons) == n_reasons
    for reason in reasons:
        # The model beside itself: the very same lists.
        assert "ndcg@10 minus that of bundle is +0.0000, 95\u00a0% interval +0.0000 to +0.0000" in reason


def test_a_log_is_held_against_the_statistics_of_the_bundle(
    judged: Judged, tiny_world: World, tmp_path: Path
) -> None:
    test = tiny_world.events.filter(pl.col("timestamp") >= judged.prepared.split.test["timestamp"].min())
    test.write_parquet(tmp_path / "now.parquet")
    test.with_columns(device=pl.lit("television")).write_parquet(tmp_path / "other.parquet")
    quiet, moved = (
        watch_log(DriftConfig(reference=str(judged.bundle), current=str(tmp_path / name)))
        for name in ("now.parquet", "other.parquet")
    )
    assert quiet.alarms == ()
    assert quiet.n_current == quiet.n_reference
    assert {"device", "surface", "item category"} <= {column.name for column in quiet.columns}
    (alarm,) = moved.alarms
    assert alarm.startswith("device has shifted")
    (overlap,) = quiet.notes
    assert "they overlap" in overlap


def test_clicks_of_a_log_are_held_against_those_that_the_head_of_the_bundle_says(
    judged: Judged, tiny_world: World, tmp_path: Path
) -> None:
    test = tiny_world.events.filter(pl.col("timestamp") >= judged.prepared.split.test["timestamp"].min())
    test.with_columns(p=pl.lit(0.9)).write_parquet(tmp_path / "now.parquet")
    test.filter(pl.col("kind") != "click").write_parquet(tmp_path / "unclicked.parquet")
    now = DriftConfig(reference=str(judged.bundle), current=str(tmp_path / "now.parquet"))
    none = replace(now, current=str(tmp_path / "unclicked.parquet"))
    by_head, by_column, unclicked = (watch_log(config) for config in (now, replace(now, score="p"), none))
    assert by_head.labels is not None
    assert by_head.labels.reference is not None
    assert by_head.labels.current.n == by_head.labels.reference.n
    assert by_head.labels.current.n_positive == by_head.labels.reference.n_positive
    assert by_head.score == "click probability"
    assert any(alarm.startswith("calibration") for alarm in by_column.alarms)
    assert any("matured labels are 0 where" in alarm for alarm in unclicked.alarms)
    with pytest.raises(DataError, match="the log has no column 'q' of a score"):
        watch_log(replace(now, score="q"))


def test_a_bundle_without_statistics_says_so(tiny_world: World, tmp_path: Path) -> None:
    bundle = publish_tiny(tmp_path / "bundles")
    tiny_world.events.write_parquet(tmp_path / "now.parquet")
    with pytest.raises(DataError, match="must carry reference statistics, got none"):
        watch_log(DriftConfig(reference=str(bundle), current=str(tmp_path / "now.parquet")))


def test_policy_is_weighed_by_its_own_chances_on_the_logged_lists(judged: Judged) -> None:
    # Even draws among all that may be shown: the chance of the top place is one by their number.
    even = PolicyOnLogConfig(policy=PolicyName.epsilon, epsilon=1.0, n_candidates=1000, places=1)
    model = load_model(judged.prepared.dataset, judged.config, judged.run.checkpoint)
    found = estimate_run(even, judged.prepared, model, judged.config)
    split, items = judged.prepared.split, judged.prepared.dataset.items
    test = split.test.with_columns(pl.col("request_id", "user_id", "item_id", "surface").cast(pl.String))
    known = split.before_test.filter(pl.col("kind").is_in(list(judged.config.data.kinds)))
    had = known.with_columns(pl.col("user_id", "item_id").cast(pl.String)).select("user_id", "item_id")
    clicks = set(test.filter(pl.col("kind") == "click").select("request_id", "item_id").iter_rows())
    weights, rewards = [], []
    for row in test.filter((pl.col("kind") == "exposure") & (pl.col("position") == 1)).to_dicts():
        until = pl.col("available_until").fill_null(2**62)
        allowed = items.filter(
            (pl.col("kind") == "content")
            & (pl.col("available_from") <= row["timestamp"])
            & (row["timestamp"] < until)
        )
        seen = had.filter(pl.col("user_id") == row["user_id"])
        allowed = allowed.join(seen, on="item_id", how="anti")
        may_be_shown = row["item_id"] in set(allowed["item_id"])
        weights.append(may_be_shown / len(allowed) / row["propensity"])
        rewards.append((row["request_id"], row["item_id"]) in clicks)
    value = found.found.value
    estimate = value.estimates[Estimator.inverse_propensity].mean
    assert estimate == pytest.approx(np.mean(np.multiply(weights, rewards)))
    assert value.support.largest == pytest.approx(max(weights))
    assert value.logged.mean == pytest.approx(np.mean(rewards))


def test_bundle_is_weighed_as_its_run_is_and_a_surface_by_its_rules(judged: Judged) -> None:
    config = PolicyOnLogConfig(policy=PolicyName.softmax, temperature=0.5, n_candidates=1000, places=2)
    model = load_model(judged.prepared.dataset, judged.config, judged.run.checkpoint)
    asked = estimate_run(config, judged.prepared, model, judged.config).found
    considers_all = SurfaceRules(name="", kind=ItemKind.content, reranking=Reranking(n_candidates=1000))
    ads = SurfaceRules(name="", kind=ItemKind.ad)
    served, other = (
        estimate_served(config, str(judged.bundle), (rules,), judged.prepared, judged.config).found
        for rules in (considers_all, ads)
    )
    for name, estimate in asked.value.estimates.items():
        assert served.value.estimates[name].mean == pytest.approx(estimate.mean, rel=1e-3)
    assert served.value.support.largest == pytest.approx(asked.value.support.largest, rel=1e-3)
    # A surface of ads would have shown none of the content that the log did.
    assert other.value.support.effective == 0.0
    home = SurfaceRules(name="home")
    with pytest.raises(ConfigError, match=r"ope.surface must be one of \['home'\], got ''"):
        estimate_served(config, str(judged.bundle), (home,), judged.prepared, judged.config)


def test_evaluation_with_a_log_tells_what_it_cannot_say(judged: Judged) -> None:
    config = EvaluateConfig(run=str(judged.run.path), ope=PolicyOnLogConfig(policy=PolicyName.thompson))
    evaluated = evaluate_run(config, [], QUIET)
    assert evaluated.off_policy is not None
    assert not evaluated.off_policy.support.is_identifiable
    facts = json.loads((judged.run.path / "off_policy.json").read_text())
    assert (facts["verdict"], facts["estimates"]) == ("not identifiable", None)
    assert [place["value"] for place in facts["places"]] == [None] * 7
    assert facts["logged_by"] == {"popularity_taste_mix": facts["places"][0]["support"]["n_decisions"]}


def test_log_without_propensities_cannot_be_asked(judged: Judged) -> None:
    split = judged.prepared.split
    blind = replace(judged.prepared, split=replace(split, test=split.test.drop("propensity")))
    model = load_model(judged.prepared.dataset, judged.config, judged.run.checkpoint)
    with pytest.raises(DataError, match=r"request_id, position and propensity .* no \['propensity'\]"):
        estimate_run(PolicyOnLogConfig(), blind, model, judged.config)


def test_surfaces_are_asked_by_their_filters_and_re_ranking(judged: Judged) -> None:
    rules = (
        SurfaceRules(name="ads", kind=ItemKind.ad),
        SurfaceRules(name="varied", reranking=Reranking(caps={"category": 1}, diversity=Diversity.mmr)),
    )
    served = with_served(judged.judgement, str(judged.bundle), judged.prepared, judged.config, rules).served
    assert served is not None
    ads, varied = served.surfaces
    items = judged.prepared.dataset.items
    assert (items["kind"] == "ad").sum() == 10  # never all available and new to a user
    assert items["category"].n_unique() < 10
    n_users = len(judged.judgement.evaluation.query_index)
    assert (ads.n_short, varied.n_short) == (n_users, n_users)
    assert (ads.overlap, varied.overlap, served.deviations) == (1.0, 1.0, ())
    assert ads.cost.mean < 0.0


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("item_vectors.npy", lambda vectors: _saved(-vectors)),
        ("item_vectors.npy", lambda vectors: _saved(np.concatenate([vectors[:1], vectors[:0:-1]]))),
        (INDEX_FILE, _flipped_graph),
    ],
    ids=["signs of the vectors", "order of the vectors", "signs inside the graph"],
)
def test_a_flipped_index_is_caught(
    judged: Judged, tmp_path: Path, name: str, change: Callable[[FloatArray], bytes]
) -> None:
    served = judged.served(_tampered(judged.bundle, tmp_path, name, change))
    assert "the index finds" in served.deviations[-1]
    assert served.overlap < 0.9 or name == INDEX_FILE  # so small a catalog: even the worst are often the best


def test_a_difference_beyond_tolerance_fails_the_report(judged: Judged, tmp_path: Path) -> None:
    flipped = _tampered(judged.bundle, tmp_path, "item_vectors.npy", lambda vectors: _saved(-vectors))
    command = "-m", "training.evaluate", f"run={judged.run.path}", f"bundle={flipped}"
    ended = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 1
    assert "not passed: What is served is not what was judged" in ended.stdout
    numbers = json.loads((judged.run.path / "evaluation.json").read_text(encoding="utf-8"))
    assert numbers["served"]["sentence"] in numbers["warnings"]
    assert "What is served is not what was judged" in (judged.run.path / "report.html").read_text("utf-8")


def test_a_stale_bundle_is_caught(judged: Judged, tiny_world: World, tmp_path: Path) -> None:
    config = _config(tmp_path, tiny_world, seed=2)
    config.trainer.epochs = 1
    other = RunFolder.open(config)
    fit(judged.prepared.dataset, judged.prepared.validation, config, other.path)
    served = judged.served(_exported(other, tmp_path / "bundles"))
    assert "fewer than 90% of the places are filled alike" in served.deviations


def test_a_seeded_leak_stops_the_run_before_anything_is_trained(tiny_world: World, tmp_path: Path) -> None:
    config = _config(tmp_path, tiny_world, seed=1)
    folder = tmp_path / "world"
    events = pl.read_parquet(folder / "events.parquet").sort("timestamp")
    judged, n_train = events.tail(500).drop("event_id"), len(events) - 500
    leaking = pl.concat(
        [events.head(n_train).drop("event_id"), judged.filter(pl.col("kind") == "click").head(3)]
    )
    leaking.write_parquet(folder / "train.parquet")
    judged.write_parquet(folder / "test.parquet")
    config.data.events = TableConfig(paths={"train": "train.parquet", "test": "test.parquet"})
    config.data.split = SplitConfig(method=SplitMethod.given)
    with pytest.raises(LeakageError, match="events of train stand in test as well, for example"):
        train(config, QUIET)
    assert not [*tmp_path.rglob("*.ckpt"), *tmp_path.rglob("report.html")]


def test_a_catalog_that_changed_since_training_is_named(judged: Judged) -> None:
    smaller = replace(judged.prepared.dataset, n_trained_items=judged.prepared.dataset.n_trained_items - 1)
    with pytest.raises(DataError, match=r"does not fit the data: .* train again"):
        load_model(smaller, judged.config, judged.run.checkpoint)


def test_ctrl_c_ends_a_ranking_with_a_plain_message(judged: Judged) -> None:
    program = """
import runpy
import numpy as np
import training.judging.judge

def never_done(rows):
    print("ranking", flush=True)
    factors = np.ones((1500, 1500), dtype=np.float32)
    while True:
        factors @ factors

training.judging.judge.inner_product_scores = lambda queries, items: never_done
runpy.run_module("training.evaluate", run_name="__main__", alter_sys=True)
"""
    command = [sys.executable, "-c", program, f"run={judged.run.path}"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        printed = next(line for line in process.stdout if line.strip() == "ranking" or not line)
        process.send_signal(signal.SIGINT)
        _, trouble = process.communicate(timeout=20)
    assert printed
    assert (process.returncode, trouble) == (130, "interrupted before the end\n")
