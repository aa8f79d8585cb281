"""Reports on made-up evaluations, with every section, for whoever renders or reads one."""

from dataclasses import replace
from functools import cache

import numpy as np

from marquee.core.item_lists import ItemLists
from marquee.evaluation.analyses.beyond_accuracy import CatalogFacts, describe_lists
from marquee.evaluation.analyses.served import ServedComparison
from marquee.evaluation.analyses.served_surfaces import ServedSurface
from marquee.evaluation.analyses.slices import slice_metric
from marquee.evaluation.evaluation import Evaluation, EvaluationTask, evaluate
from marquee.evaluation.intervals import Estimate
from marquee.evaluation.probabilities.outcomes import JudgedOutcome, judge_outcome
from marquee.index.sweep import IndexSweep, SweepPoint
from marquee.reports import Curve, Part, Protocol, ReportContent, pick_samples, render_html
from tests.support.report_parts import report_parts

N_USERS, N_ITEMS = 600, 30
TARGETS = ItemLists.of([[1 + user % N_ITEMS] for user in range(N_USERS)])
LABELS = ["", *(f"item <{i}> & more" for i in range(1, N_ITEMS + 1))]


@cache
def evaluated(**hit_fractions: float) -> Evaluation:
    """Models that rank the target first for a share of the users and nowhere near for the others."""
    generator = np.random.default_rng(0)
    scorers = {}
    for name, fraction in hit_fractions.items():
        scores = generator.random((N_USERS, N_ITEMS + 1)).astype(np.float32)
        n_hit = int(fraction * N_USERS)
        scores[np.arange(N_USERS), TARGETS.item_index] = np.where(np.arange(N_USERS) < n_hit, 2.0, -1.0)
        scorers[name] = lambda rows, scores=scores: scores[rows].copy()
    tail = np.arange(N_ITEMS + 1) > 20
    task = EvaluationTask(TARGETS, N_ITEMS, (5, 10), item_groups={"tail": tail})
    return evaluate(scorers, task, generator, n_resamples=200)


def plain_content(evaluation: Evaluation | None = None) -> ReportContent:
    evaluation = evaluation or evaluated(two_tower=0.6, popularity=0.3, item_knn=0.5)
    protocol = Protocol(
        dataset="world",
        split="by time",
        parts=(Part("train", 600, 30, 12_345), Part("test", 600, 30, 600)),
        judged_on="test",
        exclude_seen=True,
        seed=7,
        fingerprint="sha256 0123abcd",
        versions={"marquee": "0.1.0"},
        created="2026-01-05 12:00 UTC",
        train_seconds=83.0,
        peak_memory_mb=512.0,
        checks=("no event crosses the split",),
    )
    histories = ItemLists.of([[2, 3]] * N_USERS)
    user_ids = [f"user-{user}" for user in range(N_USERS)]
    return ReportContent(
        title="world <two_tower>",
        protocol=protocol,
        evaluation=evaluation,
        headline="ndcg@10",
        left_out={"als": "left out: run: pip install 'marquee[als]'"},
        curves=(Curve("train_loss", (1.0, 2.0, 3.0), (3.0, 2.0, 1.5)),),
        best_step=2.0,
        quality=("events: 12,945 rows in = 12,945 kept",),
        samples=pick_samples(
            evaluation, TARGETS, histories, user_ids, LABELS, np.random.default_rng(0), n_samples=2
        ),
        config="seed: 7 # <none>\n",
    )


def judged_clicks() -> JudgedOutcome:
    """Probabilities of a click from near 0 to near 1, true on the feed and too high on the sidebar."""
    generator = np.random.default_rng(4)
    truth = np.clip(generator.beta(0.4, 4, 6000), 0.001, 0.5)
    is_feed = np.arange(6000) % 2 == 0
    outcome = generator.random(6000) < truth
    return judge_outcome(
        "click",
        "For each of 6,000 exposures: is it clicked?",
        {"score and place": np.where(is_feed, truth, 2 * truth), "mean rate": np.full(6000, outcome.mean())},
        outcome,
        np.arange(6000) // 10,
        {"surface": {"feed": is_feed, "sidebar": ~is_feed, "tiny": np.arange(6000) < 20}},
        generator,
    )


def full_content() -> ReportContent:
    """A report with every section: what lists are like, slices, what is served, and cautions."""
    evaluation = evaluated(two_tower=0.6, popularity=0.3, item_knn=0.5)
    queries = evaluation.query_index
    facts = CatalogFacts(
        np.arange(N_ITEMS + 1),
        np.random.default_rng(0).normal(size=(N_ITEMS + 1, 4)).astype(np.float32),
        np.arange(N_ITEMS + 1)[:, None] % 3 == np.arange(3),
    )
    lists = {name: model.lists.items[queries] for name, model in evaluation.models.items()}
    histories = ItemLists.of([[2, 3]] * N_USERS)
    beyond = {
        name: describe_lists(items, TARGETS.contains(items), lists["popularity"], histories, facts)
        for name, items in lists.items()
    }
    users = {"half": {"found": np.arange(N_USERS) < 360, "lost": np.arange(N_USERS) >= 360}}
    slices = slice_metric(evaluation, "ndcg@10", evaluation.targets, users, {}, np.random.default_rng(0))
    same = Estimate(0.6, 0.5, 0.7)
    served = ServedComparison(
        "v1",
        "hnsw",
        "ndcg@10",
        same,
        Estimate(0.4, 0.3, 0.5),
        Estimate(-0.2, -0.3, -0.1),
        0.7,
        0.2,
        {"personal": 600},
        3,
        promised_recall=0.99,
        index_sweep=IndexSweep(
            kind="hnsw",
            parameter="ef_search",
            chosen=50,
            points=(SweepPoint(25, 0.9025, 0.1, 0.2), SweepPoint(50, 0.9555, 0.2, 0.3)),
            exact_ms=4.5,
            k=10,
            n_queries=256,
        ),
        surfaces=(ServedSurface("home", "only ad", same, Estimate(-0.1, -0.2, 0.0), 0.85, 7),),
    )
    return replace(
        plain_content(evaluation),
        beyond_accuracy=beyond,
        slices=slices,
        served=served,
        cautions=("Read twice.",),
        outcomes=(judged_clicks(),),
        unjudged=("The model gives no probability of the next item.",),
        **report_parts(evaluation, LABELS),
    )


@cache
def full_page() -> str:
    """Returns the page of a report with every section."""
    return render_html(full_content())
