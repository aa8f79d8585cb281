"""A click head from a table of events to a published bundle: nothing later is read, and both ends agree."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from marquee.bundle.clicks.head import Asker, ClickHead
from marquee.data.exposures import Exposures
from marquee.evaluation.probabilities.metrics import auc
from marquee.nn.embed import embed_catalog
from marquee.nn.models import TwoTower
from marquee.nn.probabilities import CrossConfig, LogisticConfig, ProbabilitiesConfig
from marquee.world import WorldConfig, simulate
from tests.support.small_config import small_config
from tests.support.small_data import write_tiny_world
from training.config import TrainConfig
from training.exporting.click_head import head_contents
from training.fitting.fit import fit
from training.fitting.probabilities.described import ScoredExposures, parts_of, score_exposures
from training.fitting.probabilities.fit import FittedHead, fit_head
from training.fitting.probabilities.run import HeadOfRun, fit_head_of_run, read_head_of_run
from training.judging.head_outcomes import objective_of_part, why_not_judged
from training.judging.judge import Judgement, judge
from training.judging.outcomes import ScoredClicks, judge_outcomes, scored_clicks
from training.runs.prepare import Prepared, prepare

QUIET = Console(quiet=True)
WINDOW = 40


@dataclass(frozen=True)
class Run:
    """Towers and a head upon them, and the head as a bundle has it."""

    config: TrainConfig
    folder: Path
    prepared: Prepared
    model: TwoTower
    of_run: HeadOfRun
    head: ClickHead

    @property
    def exposures(self) -> ScoredExposures:
        """All exposures as the head reads them."""
        return self.of_run.exposures


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A head of a market of six weeks."""
    folder = tmp_path_factory.mktemp("click_head")
    world = simulate(
        WorldConfig(seed=3, n_days=40, n_users=300, n_content=60, n_ads=20, n_campaigns=4, n_advertisers=2)
    )
    config = small_config(write_tiny_world(world, folder / "world"), str(folder / "runs"))
    config = replace(config, probabilities=CrossConfig(window=WINDOW))
    prepared = prepare(config, folder, QUIET)
    model = fit(prepared.dataset, prepared.validation, config, folder).model
    of_run = fit_head_of_run(prepared.dataset, prepared.split, model, config, folder)
    assert isinstance(of_run, HeadOfRun)
    users = prepared.dataset.known_users(prepared.events).user_ids
    head = ClickHead(head_contents(of_run, users), embed_catalog(model), has_item_bias=True)
    return Run(config, folder, prepared, model, of_run, head)


def described(run: Run, events: pl.DataFrame) -> ScoredExposures:
    """Returns the exposures of a table that ends somewhere, by the towers of the run."""
    split = replace(run.prepared.split, test=events)
    return score_exposures(
        run.prepared.dataset, split, run.model, embed_catalog(run.model), CrossConfig(window=WINDOW)
    )


def judged_exposures(run: Run) -> Exposures:
    """Returns the exposures that the report judges."""
    found = scored_clicks(run.prepared, run.model, embed_catalog(run.model), run.config)
    assert isinstance(found, ScoredClicks)
    return found.judged_exposures


def test_report_counts_the_objective_beside_what_the_head_says(run: Run) -> None:
    found = objective_of_part(run.prepared, run.config, run.of_run)
    assert found is not None
    assert found.worth.mean == pytest.approx(0.02 * found.clicks + found.conversions)
    assert found.worth.low < found.worth.mean < found.worth.high
    assert found.said is not None
    # A few weeks of a small market: the head is near, and not as far as without conversions.
    assert 0.4 < found.said / found.worth.mean < 2.5
    without = objective_of_part(run.prepared, run.config, None)
    assert without is not None
    assert (without.worth, without.said) == (found.worth, None)
    assert without.variety is None
    varied = objective_of_part(run.prepared, run.config, None, embed_catalog(run.model))
    assert varied is not None
    assert varied.variety is not None
    # An answer of several items holds more exposures than one.
    assert 0.0 < varied.variety < 500.0


def test_nothing_that_comes_later_describes_an_exposure(run: Run) -> None:
    events = run.prepared.split.test.sort("timestamp")
    half = int(events["timestamp"].quantile(0.5) or 0)
    before = described(run, events.filter(pl.col("timestamp") < half))
    whole = run.exposures
    n = len(before.shown)
    assert 0 < n < len(whole.shown)
    np.testing.assert_array_equal(before.columns, whole.columns[:n])
    np.testing.assert_array_equal(before.score, whole.score[:n])
    # What is known in the end differs: the columns would show it.
    assert (before.described.counts.came != whole.described.counts.came).any()


def test_only_the_latest_exposures_are_described(run: Run) -> None:
    split, n = run.prepared.split, 500
    settings = CrossConfig(window=WINDOW, max_exposures=n)
    latest = score_exposures(run.prepared.dataset, split, run.model, embed_catalog(run.model), settings)
    kept = latest.shown.timestamp
    whole = run.exposures.shown.timestamp
    # All of one moment stay together.
    assert n <= len(kept) < n + 20
    np.testing.assert_array_equal(kept, whole[-len(kept) :])


def test_an_exposure_does_not_describe_itself(run: Run) -> None:
    shown = run.exposures.shown
    names = run.exposures.spec.columns
    before = run.exposures.columns[:, names.index("user and the item: exposures")]
    first = pl.DataFrame({"user": shown.user, "item": shown.item}).select(
        pl.struct("user", "item").is_first_distinct()
    )
    assert not before[first.to_series().to_numpy()].any()
    assert before.any()


def test_bundle_describes_the_next_request_as_training_would(run: Run) -> None:
    """The counts of a bundle are those after its last event: of an exposure a moment later, they are all."""
    head, exposures = run.head, run.exposures
    test = run.prepared.split.test
    later = int(exposures.shown.timestamp.max()) + 2 * 86_400
    request = test.filter(pl.col("kind") == "exposure")[-1:].with_columns(
        request_id=pl.lit("later").cast(test.schema["request_id"]), timestamp=pl.lit(later, pl.Int64)
    )
    again = described(run, pl.concat([test, request]))
    (row,) = np.flatnonzero(again.shown.timestamp == later).tolist()
    user_id = str(request["user_id"][0])
    user = run.prepared.dataset.known_users(run.prepared.events).user_ids.index(user_id)
    encoded = run.prepared.dataset.query_features.encode_users([user_id])
    context = run.prepared.dataset.query_features.encode_context(request)
    tokens = encoded.tokens.copy()
    if context is not None:
        tokens[:, tokens.shape[1] - context.tokens.shape[1] :] = context.tokens
    asker = Asker(user, None, tokens, later)
    own = head.own_items(again.shown.item[row : row + 1])
    # Two days of ageing lie between the last event and the request.
    is_aged = np.array([name in ("recent", "item lately") for name in exposures.spec.columns])
    np.testing.assert_allclose(head.columns(asker, own)[0][~is_aged], again.columns[row][~is_aged], atol=2e-5)


def test_bundle_says_what_the_trained_head_says(run: Run) -> None:
    head, exposures = run.head, run.exposures
    rows = np.arange(50)
    said = head.graph.run(
        {"columns": exposures.columns[rows], "place": exposures.place[rows], "score": exposures.score[rows]}
    )
    np.testing.assert_allclose(said, run.of_run.head.probabilities(exposures, rows), atol=1e-5)


def test_head_knows_more_than_chance_and_is_calibrated(run: Run) -> None:
    shown, exposures = run.exposures.shown, run.exposures
    parts = parts_of(run.prepared.split, shown.timestamp)
    rows = np.flatnonzero(shown.timestamp >= parts.test)
    said = run.of_run.head.probabilities(exposures, rows)[:, 0].astype(np.float64)
    clicked = shown.is_clicked[rows]
    assert auc(said, clicked) > 0.65
    assert 0.5 < said.mean() / clicked.mean() < 2


@pytest.fixture(scope="module")
def judgement(run: Run) -> Judgement:
    return judge(run.prepared, run.model, run.config, QUIET, head=run.of_run)


def test_report_judges_the_head_first_by_price_and_campaign(judgement: Judgement) -> None:
    click = next(outcome for outcome in judgement.outcomes if outcome.name == "click")
    assert click.sources[0].name == "click head"
    assert {"surface", "position", "kind", "price", "campaign"} <= {column.name for column in click.columns}
    by_score = next(source for source in click.sources if source.name == "score and place")
    own = click.sources[0].metrics["normalised_entropy"].mean
    assert own < by_score.metrics["normalised_entropy"].mean
    assert any(outcome.name == "conversion" for outcome in judgement.outcomes) or any(
        "conversion" in reason for reason in judgement.unjudged
    )


def test_report_says_why_a_head_of_the_latest_exposures_alone_is_not_judged(
    run: Run, judgement: Judgement
) -> None:
    split, limit = run.prepared.split, 50
    settings = CrossConfig(window=WINDOW, max_exposures=limit)
    config = replace(run.config, probabilities=settings)
    vectors = embed_catalog(run.model)
    latest = score_exposures(run.prepared.dataset, split, run.model, vectors, settings)
    head = replace(run.of_run, exposures=latest)
    found, reasons = judge_outcomes(
        run.prepared, judgement.part, judgement.evaluation, run.model, vectors, config, head
    )
    click = next(outcome for outcome in found if outcome.name == "click")
    assert "click head" not in {source.name for source in click.sources}
    n_test = len(split.test.filter(pl.col("kind") == "exposure"))
    (reason,) = [one for one in reasons if one.startswith("The click head of the bundle is not judged")]
    assert "come before the latest 50, the only ones that it has described" in reason
    # As many as are needed, and not one less.
    needed = int(reason.split("max_exposures to ")[1].split(" ")[0].replace(",", ""))
    assert needed == n_test
    first = score_exposures(
        run.prepared.dataset, split, run.model, vectors, CrossConfig(window=WINDOW, max_exposures=needed)
    )
    assert why_not_judged(replace(head, exposures=first), judged_exposures(run), split.events, needed) == ""


def test_same_seed_gives_the_same_head_and_negatives_are_corrected_for(run: Run) -> None:
    parts = parts_of(run.prepared.split, run.exposures.shown.timestamp)
    brief = LogisticConfig(steps=60, epochs=1)
    whole, again, sampled = (
        fit_head(run.exposures, parts, settings, run.config)
        for settings in (brief, brief, replace(brief, negatives_per_click=1.0))
    )
    assert isinstance(whole, FittedHead)
    assert isinstance(again, FittedHead)
    assert isinstance(sampled, FittedHead)
    train = np.flatnonzero(run.exposures.shown.timestamp < parts.calibration)
    first = whole.probabilities(run.exposures, train)
    np.testing.assert_array_equal(first, again.probabilities(run.exposures, train))
    assert float(sampled.network.correction[0]) < -1
    # Before calibration: of one click and one other each, half would be clicked.
    for head in (whole, sampled):
        head.network.slopes.fill_(1.0)
        head.network.score_slopes.zero_()
        head.network.shifts.zero_()
    rate = run.exposures.shown.is_clicked[train].mean()
    for head in (whole, sampled):
        said = head.probabilities(run.exposures, train)[:, 0]
        assert said.mean() == pytest.approx(rate, rel=0.25)


def test_without_exposures_or_a_split_by_time_there_is_no_head(run: Run, tmp_path: Path) -> None:
    dataset, split = run.prepared.dataset, run.prepared.split
    clicks = replace(split, train=split.train.filter(pl.col("kind") != "exposure"))
    assert isinstance(read_head_of_run(dataset, split, run.model, run.config, run.folder), HeadOfRun)
    said = fit_head_of_run(dataset, clicks, run.model, run.config, tmp_path)
    assert said == "the part judged has no exposure"
    said = fit_head_of_run(dataset, replace(split, cutoffs=None), run.model, run.config, tmp_path)
    assert isinstance(said, str)
    assert said.startswith("the split is not by time")
    none = replace(run.config, probabilities=ProbabilitiesConfig())
    assert fit_head_of_run(dataset, split, run.model, none, tmp_path) == ""
    assert read_head_of_run(dataset, split, run.model, none, run.folder) is None
    assert not list(tmp_path.iterdir())
