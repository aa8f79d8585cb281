"""Re-ranking on the wire: bounded, whole numbers as JSON has them, a surface's rules never loosened."""

import msgspec
import pytest
from msgspec import UNSET

from marquee.decision.reranking import NO_RERANKING, Diversity, Reranking
from serving.api.messages import limits, reading
from serving.api.messages import requests as wire
from serving.api.messages.reranking import reranking_within
from serving.config import Settings
from serving.http.errors import Refusal
from serving.releases.surfaces import Surface

SURFACE = Surface(name="default", bundle="b", settings=Settings())
CAPPED = Surface(
    name="ads",
    bundle="b",
    settings=Settings(),
    reranking=Reranking(caps={"category": 2}, spacing={"brand": 3}, freshness_weight=0.5),
)

read_recommend = reading.reader(wire.RecommendRequest)


def read(text: str, surface: Surface = SURFACE) -> Reranking:
    return limits.to_request(read_recommend(text.encode()), surface, timestamp=0).reranking


@pytest.mark.parametrize("text", ["{}", '{"reranking": null}'])
def test_silence_means_what_the_surface_says(text: str) -> None:
    assert read(text) is NO_RERANKING
    assert read(text, CAPPED) is CAPPED.reranking


def test_every_field_arrives() -> None:
    body = """{"reranking": {"n_candidates": 50.0, "diversity": "dpp", "diversity_weight": 1,
        "caps": {"category": 2.0}, "spacing": {"brand": 3}, "freshness_weight": 0.5,
        "freshness_half_life_days": 2, "freshness_attribute": "listed"}}"""
    assert read(body) == Reranking(
        n_candidates=50,
        diversity=Diversity.dpp,
        diversity_weight=1.0,
        caps={"category": 2},
        spacing={"brand": 3},
        freshness_weight=0.5,
        freshness_half_life_days=2.0,
        freshness_attribute="listed",
    )


def test_defaults_are_those_of_the_library() -> None:
    assert read('{"reranking": {}}') == Reranking()


def test_request_tightens_the_rules_of_its_surface_and_never_loosens_them() -> None:
    body = '{"reranking": {"caps": {"category": 9, "kind": 1}, "spacing": {"brand": 2, "category": 4}}}'
    reranking = read(body, CAPPED)
    assert reranking.caps == {"category": 2, "kind": 1}
    assert reranking.spacing == {"brand": 3, "category": 4}
    assert reranking.freshness_weight == 0.0, "what is no rule is the request's to say"
    assert read('{"reranking": {"caps": {"category": 1}}}', CAPPED).caps == {"category": 1}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"diversity": "variety"}', "reranking.diversity"),
        ('{"diversity_weight": 1.5}', "reranking.diversity_weight"),
        ('{"caps": {"category": 1.5}}', "reranking.caps.category"),
        ('{"caps": {"category": 0}}', "reranking"),
        ('{"caps": {"": 1}}', "reranking.caps"),
        ('{"caps": {"category": "2"}}', "reranking.caps[...]"),
        ('{"spacing": {"category": 1}}', "reranking"),
        ('{"spacing": {"category": 1e300}}', "reranking"),
        ('{"n_candidates": 0}', "reranking"),
        ('{"n_candidates": 2000}', "reranking"),
        ('{"freshness_weight": -1}', "reranking.freshness_weight"),
        ('{"freshness_attribute": ""}', "reranking.freshness_attribute"),
        ('{"sort": "up"}', "reranking.sort"),
        ("[]", "reranking"),
        (f'{{"caps": {msgspec.json.encode({f"a{i}": 1 for i in range(9)}).decode()}}}', "reranking"),
    ],
)
def test_impossible_wish_is_refused_with_its_field(body: str, field: str) -> None:
    with pytest.raises(Refusal) as caught:
        read(f'{{"reranking": {body}}}')
    assert (caught.value.status, caught.value.field) == (422, field)


def test_nothing_said_needs_no_surface_rules() -> None:
    assert reranking_within(UNSET, None) is NO_RERANKING
