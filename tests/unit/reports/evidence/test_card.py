"""The card: facts and words side by side, and nothing made up."""

from dataclasses import replace

import numpy as np
import pytest

from marquee.errors import ConfigError
from marquee.evaluation.analyses.fairness import measure_gaps
from marquee.evaluation.intervals import Estimate
from marquee.evaluation.leaks import Leak
from marquee.reports.evidence.card import CardFacts, CardWords, card_page
from marquee.reports.evidence.page import render_page_markdown

WORDS = CardWords(
    purpose="Chooses films for the front page.",
    not_for="Prices.",
    data_source="Clicks of 2026.",
    consent="Asked at sign-up.",
    erasures="Three people; the next training leaves them out.",
    limits="Poor for new people.",
    owner="The film team.",
    objection="Write to the film team.",
)
FACTS = CardFacts(
    name="films",
    run="20261130-120000",
    created="2026-11-30T12:00:00+00:00",
    objective="loss:\n  temperature: 0.1",
    protocol={"split": "by time"},
    n_events=1000,
    rejected=7,
    verdict="model beats popularity",
    metrics={"model": "0.2000 (0.1900 to 0.2100)"},
    headline="ndcg@10",
    slices=(),
    cautions=("the test part was read twice",),
)


def test_card_holds_every_section_in_order() -> None:
    page = card_page(WORDS, FACTS)
    assert [section.title for section in page.sections] == [
        "Purpose",
        "Data",
        "Objective",
        "Results",
        "Gaps between groups",
        "What vectors tell",
        "Drift",
        "Experiments",
        "Limits",
        "Owner",
        "How to object",
    ]
    said = render_page_markdown(page)
    assert "```yaml\nloss:\n  temperature: 0.1\n```" in said
    assert "the test part was read twice" in said
    assert "No drift report was given." in said


def test_empty_sections_are_named_together_and_stop_the_card() -> None:
    with pytest.raises(ConfigError, match="no words for consent, owner: nobody can read them off a run"):
        card_page(replace(WORDS, owner=" ", consent=""), FACTS)
    card_page(replace(WORDS, notes=""), FACTS)


def test_gaps_leaks_drift_and_experiments_are_told() -> None:
    values = np.array([0.0, 1.0] * 60 + [1.0, 1.0, 0.0] * 40 + [0.5] * 3)
    gaps = measure_gaps("gender", "ndcg@10", values, ["F"] * 120 + ["M"] * 120 + ["X"] * 3)
    facts = replace(
        FACTS,
        gaps=(gaps,),
        leaks=(Leak("gender", "F", 120, 240, Estimate(0.74, 0.70, 0.78)),),
        unaudited={"age": "too few"},
        drift=("month has shifted",),
        experiments={"button": ["new: ship"]},
    )
    said = render_page_markdown(card_page(WORDS, facts))
    assert "gender: too small to show: X (3)." in said
    assert "the largest gap is M over F" in said
    assert "| gender = F | 120 of 240 | 0.74 (0.7 to 0.78) |" in said
    assert "age was not audited: too few." in said
    assert "month has shifted" in said
    assert "button: new: ship" in said
