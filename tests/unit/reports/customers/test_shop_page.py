"""The parts of value, sentiment and forecast on the page: what they say, and whom they do not show."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from marquee.marketing.cells import MIN_CELL
from marquee.marketing.running import CustomersResult
from marquee.reports.customers.page import customers_page
from marquee.reports.customers.value import value_bars, value_part
from marquee.reports.evidence.page import Page, render_page, render_page_markdown, write_page
from tests.support.shop_tables import TRAITS, run_shop, write_feedback, write_purchases


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> CustomersResult:
    folder = tmp_path_factory.mktemp("shop")
    write_purchases(folder)
    write_feedback(folder)
    return run_shop(folder)


@pytest.fixture(scope="module")
def page(shop: CustomersResult) -> Page:
    return customers_page("shop", shop)


def test_page_holds_every_part_as_text_and_as_figure(page: Page) -> None:
    text, html = render_page_markdown(page), render_page(page)
    for title in (
        "worth: the holdout",
        "mood: by week",
        "sales: ahead",
        "By expected value, the highest first",
    ):
        assert title in text
        assert title in html
    for figure in (
        "worth: expected and came: 1: ",
        "worth: customers by value",
        "sales: share of each weekday",
    ):
        assert figure in html
    assert "and what to expect: " in html


def test_findings_say_what_the_numbers_are_worth(page: Page) -> None:
    titles = [finding.title for finding in page.findings]
    assert titles[0] == "worth: money to expect"
    assert titles[1] == "mood: tells praise from blame"
    assert titles[2].endswith("in 14 days")


def test_no_text_of_a_customer_stands_on_the_page(page: Page, tmp_path: Path) -> None:
    written = write_page(page, tmp_path, "customers")
    everything = "".join(path.read_text(encoding="utf-8") for path in written.parent.iterdir())
    assert "parcel" not in everything
    assert "NaN" not in json.dumps(json.loads((tmp_path / "customers.json").read_text(encoding="utf-8")))


def test_reasons_for_past_spend_stand_first(shop: CustomersResult) -> None:
    trait = shop.traits[0]
    reason = (
        "the holdout of 150 days was missed: BG/NBD expected 56% of the revenue that came (at most 25% off)"
    )
    found = replace(trait.judged.found, reasons=(reason,), basis="past spend")
    part = value_part(replace(trait, judged=replace(trait.judged, found=found)))
    assert part.finding.title == "worth: past spend, no forecast"
    assert part.finding.text.startswith("Values are past spend")
    assert "the holdout of 150 days was missed" in part.finding.text
    assert any(reason in text for text in part.sections[0].texts)


def test_weeks_of_few_people_are_suppressed(tmp_path: Path) -> None:
    write_purchases(tmp_path)
    write_feedback(tmp_path, n=280)
    found = run_shop(tmp_path, traits={"mood": TRAITS["mood"]})
    text = render_page_markdown(customers_page("shop", found))
    assert f"of fewer than {MIN_CELL} people" in text
    weeks = customers_page("shop", found).facts["traits"]["mood"]["weeks"]
    assert all(week["n_customers"] >= MIN_CELL for week in weeks)


@pytest.mark.parametrize("n", [50, 130, 400, 3000])
def test_no_bar_of_values_shows_a_few_people(n: int) -> None:
    values = np.random.default_rng(n).pareto(1.5, n)
    # Far away stand a few, with nobody between.
    values[:5] = 1e3
    labels, counts = value_bars(values)
    assert sum(counts) == n
    assert len(labels) == len(counts) > (1 if n >= 400 else 0)
    assert all(count == 0 or count >= MIN_CELL for count in counts)
