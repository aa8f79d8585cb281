"""The page of an experiment says, in order, what may be said, and the same in every form."""

import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from marquee.data.table_config import TableConfig
from marquee.decision.experiments.declaring import Better
from marquee.evaluation.experiments.config import ExperimentConfig, MetricConfig
from marquee.evaluation.experiments.exposure import read_exposed
from marquee.evaluation.experiments.judging import judge_experiment
from marquee.evaluation.experiments.planning import ExperimentPlan, PlannedEffect, plan
from marquee.reports.evidence.experiment import experiment_page, plan_page
from marquee.reports.evidence.page import Page, render_page, render_page_markdown, write_page

ORDER = ["Shares of the arms", "Exposure", "Effects", "Guardrails", "Slices", "Day by day", "Verdict"]


def page_of(folder: Path, share_new: float) -> Page:
    """Returns the page of an experiment in which so large a share of the units is in the new arm."""
    rng = np.random.default_rng(1)
    n = 3000
    is_new = rng.random(n) < share_new
    pl.DataFrame(
        {
            "unit": range(n),
            "arm": np.where(is_new, "<new>", "old"),
            "at": rng.integers(0, 5 * 86_400, n) + 1_750_000_000,
            "orders": rng.poisson(1.0 + 0.5 * is_new),
            "returns": rng.poisson(0.5 + 0.3 * is_new),
        }
    ).write_csv(folder / "rows.csv")
    config = ExperimentConfig(
        name="button",
        root=str(folder),
        table=TableConfig(path="rows.csv"),
        arms={"old": 0.5, "<new>": 0.5},
        metrics={
            "orders": MetricConfig(value="orders", winsorise=0.99, quantiles=[0.5]),
            "returns": MetricConfig(value="returns", better=Better.less),
        },
        guardrails=["returns"],
        time="at",
    )
    return experiment_page(judge_experiment(config, read_exposed(config)))


def test_page_keeps_the_order_and_hides_nothing(tmp_path: Path) -> None:
    page = page_of(tmp_path, 0.5)
    assert [section.title for section in page.sections] == ORDER
    (finding,) = page.findings
    assert (finding.title, finding.tone) == ("<new>: stop", "worse")
    assert "returns is worse" in finding.text
    captions = [grid.caption for grid in page.sections[2].grids]
    assert captions == [
        "orders",
        "orders, sums of units capped at 5, p not corrected",
        "orders, quantiles over units",
        "returns",
    ]
    assert len(page.sections[2].figures) == 2
    assert len(page.sections[5].figures) == 1


def test_mismatch_shows_no_effect(tmp_path: Path) -> None:
    page = page_of(tmp_path, 0.4)
    assert [section.title for section in page.sections] == [*ORDER[:2], "Verdict"]
    assert "no effect is shown" in page.sections[0].texts[0]
    assert page.facts["metrics"] == []


def test_every_form_says_the_same(tmp_path: Path) -> None:
    page = page_of(tmp_path, 0.5)
    path = write_page(page, tmp_path / "out", "experiment")
    html = path.read_text()
    markdown = path.with_suffix(".md").read_text()
    facts = json.loads(path.with_suffix(".json").read_text())
    assert html == render_page(page)
    assert markdown == render_page_markdown(page)
    assert "&lt;new&gt;: stop" in html
    assert "<new>: stop" not in html
    assert "**<new>: stop**" in markdown
    assert "<script" not in html
    assert "nan" not in markdown.lower()
    effect = facts["metrics"][0]["effects"]["effects"][0]
    assert effect["low"] < 0.5 < effect["high"]
    assert facts["arms"][0]["verdict"]["conclusion"] == "stop"


def test_tables_of_the_markdown_have_one_line_per_row(tmp_path: Path) -> None:
    lines = render_page_markdown(page_of(tmp_path, 0.5)).splitlines()
    start = lines.index("| arm | units | expected | share | declared |")
    assert lines[start + 1] == "|---|---:|---:|---:|---:|"
    assert [line[:6] for line in lines[start + 2 : start + 5]] == ["| old ", "| <new", ""]


def test_plan_without_units_a_day_names_no_days() -> None:
    sizes = tuple(PlannedEffect(size, plan(1.0, size, 0.0)) for size in (0.05, 0.1, 0.2))
    page = plan_page("button", ExperimentPlan("orders", 1.0, 500, 1.0, 0.0, 0.0, 2, sizes))
    assert [row[2] for row in page.sections[0].grids[0].rows] == ["\u2013"] * 3
    assert page.findings[0].title == f"{sizes[1].plan.n_units:,} units per arm"


@pytest.mark.parametrize("render", [render_page, render_page_markdown])
def test_page_without_anything_is_still_a_page(render: object) -> None:
    assert callable(render)
    assert "Nothing yet" in render(Page("Empty", "Nothing yet.", (), ()))


DEGENERATE = {
    "nobody has anything": [{"orders": 0}] * 60,
    "all is of one unit": [{"orders": 100.0 if row == 1 else 0} for row in range(60)],
    "the control has nothing": [{"orders": row % 2} for row in range(60)],
    "the arm has nothing": [{"orders": 1 - row % 2} for row in range(60)],
    "two units in an arm": [{"orders": row} for row in range(4)],
    "one unit in an arm": [{"orders": row} for row in range(2)],
}


@pytest.mark.parametrize("rows", DEGENERATE.values(), ids=DEGENERATE)
def test_degenerate_outcomes_give_words_and_no_nan(rows: list[dict[str, float]], tmp_path: Path) -> None:
    frame = pl.DataFrame(rows).with_row_index("unit").with_columns(pl.col("orders").cast(pl.Float64))
    arm = pl.when(pl.col("unit") % 2 == 1).then(pl.lit("new")).otherwise(pl.lit("old"))
    frame.with_columns(arm=arm, past=pl.lit(1.0)).write_parquet(tmp_path / "rows.parquet")
    config = ExperimentConfig(
        root=str(tmp_path),
        table=TableConfig(path="rows.parquet"),
        arms={"old": 0.5, "new": 0.5},
        metrics={
            "orders": MetricConfig(value="orders", before="past", winsorise=0.9, quantiles=[0.5]),
            "orders per past": MetricConfig(value="orders", per="past"),
        },
        guardrails=["orders per past"],
        slices=["past"],
    )
    page = experiment_page(judge_experiment(config, read_exposed(config)))
    write_page(page, tmp_path, "experiment")
    for ending in ("json", "md", "html"):
        text = (tmp_path / f"experiment.{ending}").read_text(encoding="utf-8")
        assert not re.search(r"\b(nan|inf|infinity)\b", text, flags=re.IGNORECASE), ending
    assert page.findings[0].title in ("new: cannot tell", "new: go on", "new: ship", "new: stop")
