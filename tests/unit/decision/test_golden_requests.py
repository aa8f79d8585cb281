"""A bundle answers its golden requests as it did when it was made, or it does not serve."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from marquee.bundle.bundle import Bundle
from marquee.bundle.contents import BundleContents
from marquee.bundle.publishing import publish
from marquee.core.catalog import ItemKind
from marquee.core.filters import Filters
from marquee.decision import golden_requests as golden
from marquee.decision.golden_requests import (
    GoldenRequest,
    make_golden_requests,
    sample_requests,
    validate_golden_requests,
)
from marquee.decision.policies.config import Exploration
from marquee.decision.recommender import Recommender
from marquee.decision.requests import HistoryEvent, Request, Source
from marquee.decision.reranking import Diversity, Reranking
from marquee.errors import BundleError
from marquee.store.people.consent import Tier
from marquee.store.rules.rule import ActiveRules
from tests.support.bundles import CREATED, NOW, make_tiny
from tests.support.click_heads import with_head
from tests.support.round_trips import fields_at_default


def with_golden_requests(contents: BundleContents) -> BundleContents:
    bundle = Bundle.of(contents, CREATED)
    requests = sample_requests(bundle, NOW, np.random.default_rng(0))
    return replace(
        contents, golden_requests=golden.to_json(make_golden_requests(Recommender(bundle), requests))
    )


def kept_by(contents: BundleContents) -> tuple[GoldenRequest, ...]:
    return golden.from_json(contents.golden_requests)


@pytest.fixture(scope="module")
def contents() -> BundleContents:
    return with_golden_requests(make_tiny(n_users=40).contents)


def published(contents: BundleContents, folder: Path) -> Recommender:
    return Recommender.load(publish(contents, folder, "tiny", created=CREATED))


def with_changed_answer(contents: BundleContents, number: int, **fields: object) -> BundleContents:
    kept = kept_by(contents)
    one = replace(kept[number], **fields)  # type: ignore[arg-type]  # fields of any type
    return replace(contents, golden_requests=golden.to_json([*kept[:number], one, *kept[number + 1 :]]))


def test_published_bundle_answers_as_it_did_in_memory(contents: BundleContents, tmp_path: Path) -> None:
    recommender = published(contents, tmp_path)
    assert recommender.bundle.golden_requests == contents.golden_requests
    validate_golden_requests(recommender)


def test_requests_of_every_kind_are_sampled(contents: BundleContents) -> None:
    kept = kept_by(contents)
    requests = [one.request for one in kept]
    assert len(requests) == 32
    assert {one.source for one in kept} == {Source.personal, Source.history, Source.popular}
    assert {request.kind for request in requests} == {None, *ItemKind}
    assert {request.timestamp for request in requests} == {NOW}
    assert all(one.item_ids for one in kept)


EVERYTHING = Request(
    timestamp=7,
    k=3,
    user_id="u1",
    history=(HistoryEvent("i001", "rating", 4.5), HistoryEvent("i002")),
    query="größe 40",
    history_weight=0.5,
    features={"age": 31, "interests": ["ä", None]},
    context={"device": "phone"},
    surface="home",
    kind=ItemKind.ad,
    exclude=("i003",),
    exclude_seen=False,
    tier=Tier.segment,
    filters=Filters.of(
        {
            "genre": {"any_of": ["drama", True], "all_of": ["film"], "none_of": ["horror"]},
            "year": {"min": 1990, "max": 2000.5},
        }
    ),
    reranking=Reranking(
        n_candidates=50,
        diversity=Diversity.mmr,
        diversity_weight=0.5,
        caps={"genre": 2},
        spacing={"brand": 3},
        freshness_weight=0.5,
        freshness_half_life_days=2.0,
        freshness_attribute="released",
    ),
)


def test_every_field_of_a_golden_request_survives_the_file() -> None:
    kept = GoldenRequest(
        request=EVERYTHING,
        source=Source.history,
        item_ids=("ä",),
        scores=(0.1,),
        probabilities=((0.25, 0.5),),
    )
    # It stands alone in a request: the last one has it.
    alone = {"Request.like_item"}
    # No golden request draws its places, so that these are not in the file.
    drawn = {"Request.decision_id", "Request.exploration"} | {
        f"Exploration.{one.name}" for one in fields(Exploration)
    }
    # By people, or sold by the service: of no release.
    decided = {"Request.ads", "Request.rules"} | {f"ActiveRules.{one.name}" for one in fields(ActiveRules)}
    assert fields_at_default(kept) == alone | drawn | decided, (
        "give each new field a value that is not its default"
    )
    of_ids = replace(kept, request=Request(timestamp=7, history=("i001", "i002")))
    like = replace(kept, request=Request(timestamp=7, like_item="i001"))
    assert golden.from_json(golden.to_json([kept, of_ids, like])) == (kept, of_ids, like)


def test_golden_requests_of_the_first_bundles_of_format_2_are_read() -> None:
    """They have no surface, and another order of keys."""
    text = """[{"timestamp": 7, "k": 10, "user_id": null,
        "history": [["i001", "", null], ["i002", "view", 2]], "features": {}, "context": {}, "kind": "ad",
        "reranking": {"n_candidates": 200, "diversity": null,
        "diversity_weight": 0.3, "caps": {}, "spacing": {}, "freshness_weight": 0.0,
        "freshness_half_life_days": 7.0, "freshness_attribute": "available_from"},
        "filters": [{"attribute": "genre", "any_of": ["b", "a"], "all_of": [], "none_of": [], "min": null,
        "max": null}], "exclude": [], "exclude_seen": true,
        "answer": {"source": "history", "item_ids": ["i003"], "scores": [1]}}]"""
    request = Request(
        timestamp=7,
        history=(HistoryEvent("i001"), HistoryEvent("i002", "view", 2.0)),
        kind=ItemKind.ad,
        filters=Filters.of({"genre": {"any_of": ["a", "b"]}}),
    )
    expected = GoldenRequest(request=request, source=Source.history, item_ids=("i003",), scores=(1.0,))
    assert golden.from_json(text) == (expected,)


def test_bundle_whose_click_head_says_otherwise_is_refused(tmp_path: Path) -> None:
    contents = with_golden_requests(with_head(make_tiny(n_users=40).contents))
    assert all(len(one.probabilities) == len(one.item_ids) for one in kept_by(contents))
    validate_golden_requests(published(contents, tmp_path / "same"))
    assert contents.click_head is not None
    clicked = replace(contents.click_head, counts=contents.click_head.counts * 2)
    other = published(replace(contents, click_head=clicked), tmp_path / "other")
    with pytest.raises(BundleError, match="its probabilities are off by"):
        validate_golden_requests(other)
    without = published(replace(contents, click_head=None), tmp_path / "without")
    with pytest.raises(BundleError, match="0 probabilities, expected 10"):
        validate_golden_requests(without)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Input data was truncated"),
        ("{}", "Expected `array`"),
        ('[{"timestamp": 7}]', "missing required field `source`"),
        ('[{"timestamp": 7, "answer": 3}]', "Expected `object`, got `int`"),
        ('[{"answer": {"source": "history", "item_ids": [], "scores": []}}]', "missing .* `timestamp`"),
        (
            '[{"timestamp": 7, "colour": 1, "answer": {"source": "history", "item_ids": [], "scores": []}}]',
            "unknown field `colour`",
        ),
        (
            '[{"timestamp": 7, "k": 0, "answer": {"source": "history", "item_ids": [], "scores": []}}]',
            "k must be 1 or more",
        ),
    ],
)
def test_text_that_holds_no_golden_requests_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        golden.from_json(text)


def test_score_that_is_no_number_is_not_recorded(contents: BundleContents) -> None:
    with pytest.raises(ValueError, match="JSON"):
        with_changed_answer(contents, 0, scores=(np.nan,) * 10)


def test_record_that_cannot_be_read_is_refused(contents: BundleContents) -> None:
    recommender = Recommender(Bundle.of(replace(contents, golden_requests='[{"k": 3}]'), CREATED))
    with pytest.raises(BundleError, match=r"recorded_requests\.json .* cannot be read"):
        validate_golden_requests(recommender)


def test_bundle_without_golden_requests_is_taken() -> None:
    validate_golden_requests(Recommender(Bundle.of(make_tiny().contents, CREATED)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": Source.similar}, "the source is personal, expected similar"),
        ({"item_ids": ("i001",), "scores": (1.0,)}, r"\d+ items, expected 1"),
    ],
)
def test_other_answer_is_refused(
    contents: BundleContents, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    recommender = published(with_changed_answer(contents, 0, **change), tmp_path)
    with pytest.raises(BundleError, match=f"answers golden request 0 otherwise .*{message}"):
        validate_golden_requests(recommender)


@pytest.mark.parametrize(("factor", "is_refused"), [(1 + 2e-5, False), (1 + 5e-4, True)])
def test_scores_may_differ_by_rounding_only(
    contents: BundleContents, factor: float, is_refused: bool
) -> None:
    one = kept_by(contents)[0]
    scores = tuple(score * factor for score in one.scores)
    changed = with_changed_answer(contents, 0, scores=scores)
    recommender = Recommender(Bundle.of(changed, CREATED))
    if is_refused:
        with pytest.raises(BundleError, match="otherwise than when it was made: the score of"):
            validate_golden_requests(recommender)
    else:
        validate_golden_requests(recommender)


def other_items(one: GoldenRequest, n: int) -> GoldenRequest:
    """Returns a request of whose first items n are others, none of which is given back."""
    return replace(one, item_ids=tuple(f"gone-{i}" for i in range(n)) + one.item_ids[n:])


@pytest.mark.parametrize(("n_requests", "is_refused"), [(1, False), (6, True)])
def test_few_other_items_are_rounding_and_many_are_not(
    contents: BundleContents, n_requests: int, is_refused: bool
) -> None:
    kept = tuple(
        other_items(one, 4) if number < n_requests else one for number, one in enumerate(kept_by(contents))
    )
    recommender = Recommender(Bundle.of(replace(contents, golden_requests=golden.to_json(kept)), CREATED))
    if is_refused:
        with pytest.raises(BundleError, match=r"gives back 0\.9\d+ of the items of its 32 golden requests"):
            validate_golden_requests(recommender)
    else:
        validate_golden_requests(recommender)


def test_tower_that_multiplies_otherwise_is_refused(contents: BundleContents, tmp_path: Path) -> None:
    """As a library would that computes something else from the very same files."""
    recommender = published(contents, tmp_path)
    run = recommender.bundle.query_tower.run
    recommender.bundle.query_tower.run = lambda arrays: run(arrays) * np.float32(1.01)  # type: ignore[method-assign]
    with pytest.raises(BundleError, match="otherwise than when it was made"):
        validate_golden_requests(recommender)
