import html
import json
import re
import sys
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from marquee.core.item_lists import ItemLists
from marquee.errors import ConfigError
from marquee.evaluation.intervals import Estimate
from marquee.index.sweep import IndexSweep, SweepPoint
from marquee.reports import (
    Curve,
    Finding,
    curves_from_rows,
    judge_against,
    pick_samples,
    protocol_warnings,
    render_html,
    render_markdown,
    write_report,
)
from tests.support.report_pages import (
    LABELS,
    N_ITEMS,
    N_USERS,
    TARGETS,
    evaluated,
    full_content,
    full_page,
    plain_content,
)


@cache
def _page() -> str:
    return render_html(plain_content())


def test_probabilities_stand_in_every_form_with_their_curve_and_their_worst_slice() -> None:
    content = full_content()
    markdown = render_markdown(content)
    written = json.loads(json.dumps(content.to_json_dict(), allow_nan=False))
    for text in (html.unescape(full_page()), markdown, json.dumps(written, ensure_ascii=False)):
        assert content.outcomes[0].sentence in text
        assert "Worst calibrated slice, of 2: surface = sidebar: " in text
        assert "The model gives no probability of the next item." in text
    assert "surface; 1 with fewer than 50 users, or fewer than 30 of either outcome, suppressed" in markdown
    curve = re.search(r'aria-label="score and place, said and came: ([^"]+)"', full_page())
    assert curve
    assert curve.group(1).count(" and ") == 10  # a point per bin
    (judged,) = written["probabilities"]
    assert [source["name"] for source in judged["sources"]] == ["score and place", "mean rate"]
    assert len(judged["sources"][0]["curve"]) == 10


def test_slices_qualities_and_what_is_served_stand_on_the_page_and_in_every_form() -> None:
    content = full_content()
    markdown, numbers = render_markdown(content), json.loads(json.dumps(content.to_json_dict()))
    for text in (full_page(), markdown, json.dumps(numbers, ensure_ascii=False)):
        assert "Worst slice of users, of 2: user: half = lost" in text
        assert "What is served is not what was judged" in text
        assert "Read twice." in text
        assert "miscalibration" in text
    assert numbers["beyond"]["popularity"]["serendipity"] == 0.0
    assert len(re.findall("<svg", full_page())) == 6 + 9 + 1 + 1 + 1 + 3 + 1 + 3 + 1
    _tags(full_page())


def test_recall_and_latency_of_the_served_index_stand_in_every_form() -> None:
    content = full_content()
    markdown, numbers = render_markdown(content), content.to_json_dict()
    sentence = "Index hnsw with ef_search 50 finds 95.55% of the exact top 10 of 256 users, in 0.200 ms"
    for text in (full_page(), markdown):
        assert sentence in text
        assert "Its manifest promises recall 0.9900." in text
    assert "| 50 (chosen) | 0.9555 | 0.2000 | 0.3000 |" in markdown
    assert "- home: only ad, 85.0 % of the places as by an exact search, 7 short answers" in markdown
    assert "| home | 0.6000 (0.5000 – 0.7000) | -0.1000" in markdown  # noqa: RUF001
    assert "on surface home fewer than 90% of the places" in full_page()
    assert "| exact | 1.0000 | 4.5000 | " in markdown
    assert re.search(r'<tr class="model"><th scope="row">50 \(chosen\)</th>', full_page())
    assert "hnsw: ef_search, recall by latency, chosen 50: 25 0.9025 in 0.100 ms" in full_page()
    served = json.loads(json.dumps(numbers))["served"]
    assert [point["recall"] for point in served["index_sweep"]["points"]] == [0.9025, 0.9555]


def test_an_index_that_misses_more_than_it_promised_is_a_warning() -> None:
    served = full_content().served
    assert served is not None
    same = replace(served, difference=Estimate(0.0, 0.0, 0.0), overlap=1.0, surfaces=())
    assert same.deviations == ("the index finds 95.5% of the exact answer where its manifest promises 99.0%",)
    assert same.sentence in replace(full_content(), served=same).warnings
    assert not replace(same, promised_recall=0.97).deviations


def test_an_exact_index_has_no_curve() -> None:
    content = full_content()
    assert content.served is not None
    flat = IndexSweep("flat", "", 0, (SweepPoint(0, 1.0, 4.0, 5.0),), 4.0, 10, 256)
    page = render_html(replace(content, served=replace(content.served, index_sweep=flat)))
    assert "Index flat finds 100.00% of the exact top 10" in page
    assert "recall by latency" not in page


def test_the_protocol_says_what_was_not_available() -> None:
    content = plain_content()
    assert "availability: every item could be shown to everybody" in render_markdown(content)
    evaluation = content.evaluation
    counts = replace(evaluation.counts, mean_items_unavailable=7.4, n_targets_unavailable=900)
    part = replace(content, evaluation=replace(evaluation, counts=counts))
    for text in (render_markdown(part), render_html(part)):
        assert f"for all models alike: 7 of {N_ITEMS} items on average" in text
        assert "900 targets that were not available when their user was asked" in text
        assert "of the targets are items that could not be shown yet, or no longer" in text


class _Tags(HTMLParser):
    """Collects start tags with their attributes, and complains of what is not closed."""

    VOID = ("meta", "link", "wbr")

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _tags(page: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = _Tags()
    parser.feed(page)
    assert not parser.open
    return parser.tags


@pytest.mark.parametrize(
    ("model", "knn", "finding", "words"),
    [
        (0.6, 0.4, Finding.better, r"it beats popularity \(0\.\d{4}\) by .*; it beats item_knn"),
        (0.4, 0.6, Finding.worse, r"it beats popularity .*; it does not beat item_knn .* lower by"),
        (0.5, 0.495, Finding.undecided, r"it beats popularity .*; it cannot be told from item_knn"),
    ],
)
def test_the_verdict_says_plainly_what_the_interval_says(
    model: float, knn: float, finding: Finding, words: str
) -> None:
    verdict = judge_against(evaluated(two_tower=model, popularity=0.1, item_knn=knn), "recall@10")
    assert verdict.finding == finding
    assert re.search(words, verdict.sentence)
    assert ("would have been found in 80%" in verdict.sentence) is (finding is Finding.undecided)


def test_the_verdict_states_differences_in_the_direction_of_its_words() -> None:
    verdict = judge_against(evaluated(two_tower=0.25, popularity=0.5), "recall@10")
    assert "it does not beat popularity (0.5000): it is lower by 0.2500 (\u221250.0%; 95" in verdict.sentence
    low, high = re.findall(r"interval (\S+) to (\S+), p < 0.001\)", verdict.sentence)[0]
    assert 0 < float(low) < 0.25 < float(high)


def test_without_baselines_the_verdict_is_that_nothing_can_be_told() -> None:
    verdict = judge_against(evaluated(two_tower=0.6, another=0.1), "ndcg@10")
    assert verdict.finding == Finding.undecided
    assert "no baseline was evaluated beside it" in verdict.sentence


def test_warnings_name_what_misleads() -> None:
    evaluation = evaluated(two_tower=0.6, popularity=0.1)
    assert not list(protocol_warnings(evaluation))
    counts = replace(evaluation.counts, n_queries=120, n_targets_outside_catalog=300)
    tied = replace(evaluation.models["two_tower"], tied_fraction=0.25)
    odd = replace(evaluation, counts=counts, models={**evaluation.models, "two_tower": tied})
    few, ties, unreachable = protocol_warnings(odd)
    assert few.startswith("Only 120 users")
    assert "25% of the lists of two_tower" in ties
    assert unreachable.startswith("50% of the targets")


def test_the_page_needs_nothing_from_outside() -> None:
    for tag, attributes in _tags(_page()):
        assert tag not in ("script", "img", "iframe", "object", "embed")
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:,"))


def test_ids_on_the_page_are_unique_and_all_that_is_referred_to_is_there() -> None:
    page = _page()
    ids = [attributes["id"] for _, attributes in _tags(page) if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(|href=")#([^")]+)', page)) <= {str(id_) for id_ in ids}


def test_the_page_says_everything() -> None:
    page = _page()
    for text in (
        "Better than the baselines",
        "sha256 0123abcd",
        "the full catalog of 30 items",
        "excluded from lists and targets",
        "12,345",
        "no event crosses the split",
        "training 1 min 23 s, evaluation not measured",
        "512 MiB",
        "marquee 0.1.0",
        "pip install &#39;marquee[als]&#39;",
        "events: 12,945 rows in = 12,945 kept",
        "Targets in the group tail alone",
        "seed: 7",
    ):
        assert text in page


def test_text_of_users_is_escaped() -> None:
    page = _page()
    assert "item &lt;3&gt; &amp; more" in page
    assert "<3>" not in page
    assert "world &lt;two_tower&gt;" in page


def test_figures_take_their_colours_from_the_page() -> None:
    page = _page()
    figures = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert len(figures) == 6 + 1
    for figure in figures:
        assert set(re.findall(r"#[0-9a-f]{6}\b", figure)) == set()
        assert 'role="img" aria-label="' in figure
        assert "<text" in figure
    assert page.count("var(--accent)") > len(figures)


def test_equal_content_gives_equal_bytes() -> None:
    assert render_html(plain_content()) == _page()


def test_the_headline_metric_stands_first() -> None:
    table = re.search(r"<thead>.*?recall.*?</thead>", _page(), flags=re.DOTALL)
    assert table
    assert re.findall(r'<th scope="col">(\w+)', table.group().rsplit("<thead>", 1)[1])[:3] == [
        "model",
        "ndcg",
        "recall",
    ]


def test_empty_sections_are_left_out() -> None:
    content = plain_content(evaluated(two_tower=0.5))
    bare = replace(content, left_out={}, curves=(), best_step=None, quality=(), samples=(), config="")
    page = render_html(bare)
    for heading in ("Training", "Data quality", "Samples", "Configuration"):
        assert f"<h2>{heading}</h2>" not in page
    _tags(page)


def test_markdown_holds_verdict_protocol_and_every_model() -> None:
    content = plain_content()
    text = render_markdown(content)
    assert f"**{content.verdict.sentence}**" in text
    assert "- train: 600 users, 30 items, 12,345 events" in text
    accuracy, _, others = text.partition("two_tower minus each other model, paired:")
    rows = [line for line in accuracy.splitlines() if line.startswith("| ")]
    assert "- cutoffs: 5, 10; the verdict is about ndcg@10" in accuracy
    assert "Targets in the group tail alone:" in others
    assert "seed: 7 # <none>" in others
    assert {line.split(" | ")[0][2:] for line in rows} == {
        "model",
        "two_tower",
        "popularity",
        "item_knn",
        "als",
    }
    assert len({line.count("|") for line in rows}) == 1


def test_json_holds_the_same_content() -> None:
    content = plain_content()
    written = json.loads(json.dumps(content.to_json_dict(), allow_nan=False))
    assert written["verdict"]["sentence"] == content.verdict.sentence
    assert written["verdict"]["finding"] == "better"
    assert written["protocol"]["parts"][0] == {
        "name": "train",
        "n_users": 600,
        "n_items": 30,
        "n_events": 12_345,
    }
    assert written["evaluation"]["models"]["two_tower"]["metrics"]["recall@10"]["mean"] == 0.6
    assert written["curves"][0]["values"] == [3.0, 2.0, 1.5]
    assert len(written["samples"]) == 2


def test_write_report_returns_the_page_and_writes_markdown_beside_it(tmp_path: Path) -> None:
    content = plain_content()
    page = write_report(content, tmp_path)
    assert page == tmp_path / "report.html"
    assert page.read_text(encoding="utf-8") == render_html(content)
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == render_markdown(content)


def test_samples_show_histories_targets_and_marked_lists() -> None:
    evaluation = evaluated(two_tower=1.0, popularity=0.0)
    histories = ItemLists.of([[2, 0, 3]] * N_USERS)
    ids = [str(user) for user in range(N_USERS)]
    samples = pick_samples(
        evaluation, TARGETS, histories, ids, LABELS, np.random.default_rng(0), n_samples=3, n_items=4
    )
    for sample in samples:
        assert sample.history == (LABELS[2], LABELS[3])
        assert sample.targets == (LABELS[1 + int(sample.user) % N_ITEMS],)
        assert [item.is_target for item in sample.lists["two_tower"]] == [True, False, False, False]
        assert not any(item.is_target for item in sample.lists["popularity"])


def test_curves_come_from_a_log_with_gaps() -> None:
    rows: list[dict[str, str]] = [
        {"epoch": "0", "step": "9", "loss": "0.5", "ndcg": ""},
        {"epoch": "0", "step": "4", "loss": "1.5", "ndcg": ""},
        {"epoch": "0", "step": "9", "loss": "", "ndcg": "0.1"},
        {"epoch": "0", "step": "", "loss": "7", "ndcg": ""},
    ]
    assert curves_from_rows(rows) == (Curve("loss", (4.0, 9.0), (1.5, 0.5)), Curve("ndcg", (9.0,), (0.1,)))


def test_a_headline_that_is_not_evaluated_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"must be one of recall@5, .*, got 'ndcg@7'"):
        replace(plain_content(), headline="ndcg@7")


def test_a_metric_without_value_is_a_dash() -> None:
    evaluation = evaluated(two_tower=0.5, popularity=0.1)
    nothing = Estimate(float("nan"), float("nan"), float("nan"))
    model = evaluation.models["two_tower"]
    missing = replace(model, estimates={**model.estimates, "ndcg@10|tail": nothing})
    page = render_html(plain_content(replace(evaluation, models={**evaluation.models, "two_tower": missing})))
    assert re.search(r"<td>\u2013\s*</td>", page)
    assert "nan" not in re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL)


@pytest.mark.parametrize(("module", "package"), [("matplotlib.figure", "matplotlib"), ("jinja2", "jinja2")])
def test_a_missing_package_is_named_with_its_install_command(
    monkeypatch: pytest.MonkeyPatch, module: str, package: str
) -> None:
    content = plain_content()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf"need the package {package}.*pip install 'marquee\[reports\]'"):
        render_html(content)
