"""The page holds nothing that the JSON lacks, has contents, and takes sections that come late."""

import json
import re
from dataclasses import replace
from functools import cache
from html import unescape
from pathlib import Path

import pytest

from marquee.errors import DataError
from marquee.reports import ReportContent, amend_report, render_html, render_markdown, write_report
from marquee.reports.sections import SECTIONS
from tests.support.report_pages import full_content, full_page
from tests.support.report_parts import series

ABSENT = {name: f"{name} takes a command." for name in ("ageing", "backtest", "learning_curve")}


@cache
def _without_retrainings() -> ReportContent:
    """A report with little to draw, before any retrainings."""
    bare = replace(
        full_content(),
        beyond_accuracy={},
        slices=None,
        served=None,
        inspection=None,
        curves=(),
        best_step=None,
    )
    return replace(bare, ageing=None, backtest=None, learning_curve=None, absent=ABSENT)


def _numbers(value: object) -> list[float]:
    """Returns every number of a JSON document."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return []
    if isinstance(value, int | float):
        return [float(value)]
    children = value.values() if isinstance(value, dict) else value
    assert not isinstance(children, int | float | str)
    return [number for child in children for number in _numbers(child)]  # type: ignore[attr-defined] # a dict or a list


def test_every_number_of_the_page_tables_is_in_the_json() -> None:
    written = json.loads(json.dumps(full_content().to_json_dict(), allow_nan=False))
    known = {f"{abs(number):.4f}" for number in _numbers(written)}
    tables = re.findall(r"<table>.*?</table>", full_page(), flags=re.DOTALL)
    shown = {number for table in tables for number in re.findall(r"\d+\.\d{4}\b", table)}
    assert len(shown) > 100
    assert sorted(shown - known) == []


def test_contents_lead_to_every_section() -> None:
    page = full_page()
    contents = re.findall(r'<li><a href="#(\w+)">([^<]*)</a>', page)
    headings = re.findall(r'<section id="(\w+)">\s*<h2>([^<]*)</h2>', page)
    assert contents == [("summary", "Summary"), *headings]
    names = [name for name, _ in headings]
    assert names == [section.name for section in SECTIONS if section.name in names]
    assert {"protocol", "accuracy", "served", "slices", "beyond", "ageing", "inside", "samples"} < set(names)


def test_summary_says_headline_best_other_users_and_what_is_served() -> None:
    summary = full_page().partition('<section id="summary">')[2].partition("</section>")[0]
    tiles = [
        (unescape(label), value)
        for label, value in re.findall(r'<div class="tile"><span>(.*?)</span><b>(.*?)</b>', summary)
    ]
    evaluation = full_content().evaluation
    best = evaluation.models["item_knn"].estimates["ndcg@10"].mean
    assert tiles == [
        ("ndcg@10", f"{evaluation.models['two_tower'].estimates['ndcg@10'].mean:.4f}"),
        ("best of the others: item_knn", f"{best:.4f}"),
        ("users asked, test part", "600"),
        ("of the catalog is shown", f"{evaluation.models['two_tower'].coverage['coverage@10']:.0%}"),
        ("of the lists served as judged, bundle v1", "20.0%"),
    ]
    assert "Worst slice of users" in summary


def test_sections_over_time_say_why_they_are_not_there() -> None:
    content = _without_retrainings()
    for text in (render_html(content), render_markdown(content)):
        for reason in ABSENT.values():
            assert reason in text
    assert content.to_json_dict()["absent"] == ABSENT


def test_sections_over_time_stand_in_every_form() -> None:
    content = full_content()
    assert content.ageing is not None
    for text in (full_page(), render_markdown(content)):
        assert content.ageing.sentence in text
        assert "Trained again, for a test." in text
        assert "2026-01-01 to 2026-02-01" in text
        assert "25 % of the users" in text
    assert (
        "ndcg@10 by window, oldest first, 2 points, first to last: two_tower 0.1500 to 0.2500" in full_page()
    )
    assert "beaten in 2 of 2" in render_markdown(content)


def test_an_inspection_stands_in_every_form() -> None:
    content = full_content()
    assert content.inspection is not None
    written = json.loads(json.dumps(content.to_json_dict()))["inside"]
    assert len(written["item_map"]["points"]) == 30
    page, markdown = full_page(), render_markdown(content)
    points = re.findall(r"<circle [^>]*><title>", page)
    assert len(points) == 30
    shown = content.inspection.mistakes.over_recommended[0]
    row = f"<td>{shown.n_shown}</td><td>{shown.n_wanted}</td><td>{shown.n_hits}</td><td>{shown.n_events}</td>"
    assert row in page
    assert f"| {shown.label} | {shown.n_shown} | {shown.n_wanted} | {shown.n_hits} |" in markdown
    assert "&lt;green&gt;" in page
    assert "<green>" not in page


@pytest.mark.parametrize("name", ["backtest", "learning_curve"])
def test_an_amended_report_is_the_one_that_would_have_been_written(name: str, tmp_path: Path) -> None:
    late = series(["first", "second", "third"], [0.25, 0.5, 1.0])
    write_report(_without_retrainings(), tmp_path)
    amend_report(tmp_path, name, late)
    whole = replace(
        _without_retrainings(),
        backtest=late if name == "backtest" else None,
        learning_curve=late if name == "learning_curve" else None,
    )
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == render_html(whole)
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == render_markdown(whole)


def test_amending_twice_keeps_the_last(tmp_path: Path) -> None:
    write_report(_without_retrainings(), tmp_path)
    for labels in (["old", "older"], ["new", "newer"]):
        amend_report(tmp_path, "backtest", series(labels, [1.0, 2.0]))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert ">newer<" in page
    assert ">older<" not in page


def test_a_report_without_the_section_is_refused(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("<html></html>", encoding="utf-8")
    with pytest.raises(
        DataError, match="must have a section 'backtest' to replace, got none; write the report"
    ):
        amend_report(tmp_path, "backtest", series(["only"], [1.0]))


def test_one_retraining_has_neither_spread_nor_figure(tmp_path: Path) -> None:
    write_report(_without_retrainings(), tmp_path)
    n_figures = (tmp_path / "report.html").read_text(encoding="utf-8").count("<svg")
    amend_report(tmp_path, "backtest", series(["only"], [1.0]))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert ">only<" in page
    assert "deviation" not in page
    assert page.count("<svg") == n_figures


def test_a_learning_curve_says_what_the_last_step_added() -> None:
    sentence = (
        "from 0.1500 with 25 % of the users to 0.2500 with 100 % of the users; the last step added +0.1000"
    )
    for text in (full_page(), render_markdown(full_content())):
        assert sentence in text
