"""Reading messages: JSON and types to the letter, limits by name, every refusal says where."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marquee.core.catalog import ItemKind
from marquee.core.event_kinds import EventKind
from marquee.core.filters import Clause, Filters
from marquee.decision.requests import Answer, HistoryEvent, Recommendation, Request, Source
from serving.api.messages import limits, reading
from serving.api.messages import requests as wire
from serving.api.messages.answers import RecommendAnswer
from serving.config import Settings
from serving.http.errors import Refusal
from serving.releases.surfaces import Surface

LIMITS = Settings(max_k=50, max_history=3, max_exclude=2, max_batch=2, max_filters=2, max_filter_values=3)

SURFACE = Surface(name="home", bundle="", settings=LIMITS)

read_recommend = reading.reader(wire.RecommendRequest)
read_similar = reading.reader(wire.SimilarRequest)
read_batch = reading.reader(wire.BatchRequest)


def read(text: str | bytes) -> Request:
    body = text.encode() if isinstance(text, str) else text
    return limits.to_request(read_recommend(body), SURFACE, timestamp=1_700_000_000)


def refused(text: str | bytes) -> Refusal:
    with pytest.raises(Refusal) as caught:
        read(text)
    return caught.value


def test_empty_object_asks_for_the_defaults() -> None:
    assert read("{}") == Request(timestamp=1_700_000_000, surface="home")


def test_every_field_arrives() -> None:
    body = """{"user_id": "u", "history": ["a", {"item_id": "b", "kind": "click", "value": 2}],
        "features": {"age": 31, "tags": ["x", "y"]}, "k": 3,
        "context": {"device": "phone", "new": true, "gone": null}, "kind": "ad",
        "filters": {"tags": {"any_of": ["a", 1, true], "all_of": ["b"]}, "year": {"min": 1990, "max": null}},
        "exclude": ["c"], "exclude_seen": false}"""
    assert read(body) == Request(
        timestamp=1_700_000_000,
        surface="home",
        k=3,
        user_id="u",
        history=(HistoryEvent("a"), HistoryEvent("b", "click", 2.0)),
        features={"age": 31, "tags": ["x", "y"]},
        context={"device": "phone", "new": True, "gone": None},
        kind=ItemKind.ad,
        filters=Filters(
            (
                Clause(attribute="tags", any_of=(1, True, "a"), all_of=("b",)),
                Clause(attribute="year", min=1990),
            )
        ),
        exclude=("c",),
        exclude_seen=False,
    )


def test_null_is_as_good_as_absent_where_nothing_may_be_known() -> None:
    body = '{"user_id": null, "history": null, "kind": null}'
    assert read(body) == read("{}")


def test_similar_request_arrives() -> None:
    body = (
        b'{"item_id": "a", "k": 3, "kind": "content", "exclude": ["b"],'
        b' "filters": {"brand": {"none_of": ["Acme"]}}}'
    )
    message = read_similar(body)
    assert limits.to_similar_request(message, SURFACE, 5) == Request(
        like_item="a",
        surface="home",
        k=3,
        kind=ItemKind.content,
        filters=Filters((Clause(attribute="brand", none_of=("Acme",)),)),
        exclude=("b",),
        timestamp=5,
    )


@pytest.mark.parametrize("text", ["1", "50", "3.0", "3e0", "0.5e1"])
def test_k_may_be_any_json_integer(text: str) -> None:
    assert read(f'{{"k": {text}}}').k == int(float(text))


@pytest.mark.parametrize("text", ["0", "-1", "51", "2.5", "1e300", "-1e300", "9" * 30, "1e-300"])
def test_k_outside_its_range_is_refused_with_its_value(text: str) -> None:
    refusal = refused(f'{{"k": {text}}}')
    assert (refusal.status, refusal.field) == (422, "k")
    assert str(refusal).startswith("k must be an integer from 1 to 50, got ")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"k": "3"}', "k"),
        ('{"k": true}', "k"),
        ('{"k": null}', "k"),
        ('{"user_id": 7}', "user_id"),
        ('{"user_id": ""}', "user_id"),
        (f'{{"user_id": "{"x" * 257}"}}', "user_id"),
        ('{"history": "a"}', "history"),
        ('{"history": ["a", 3]}', "history[1]"),
        ('{"history": [""]}', "history[0]"),
        ('{"history": [{"item_id": ""}]}', "history[0].item_id"),
        ('{"history": [{"kind": "click"}]}', "history[0]"),
        ('{"history": [{"item_id": "a", "kind": "clck"}]}', "history[0].kind"),
        ('{"history": [{"item_id": "a", "value": "5"}]}', "history[0].value"),
        ('{"history": [{"item_id": "a", "when": 5}]}', "history[0].when"),
        ('{"features": []}', "features"),
        ('{"features": {"age": {"deep": 1}}}', "features[...]"),
        ('{"features": {"age": [[1]]}}', "features[...][0]"),
        ('{"features": {"age": 9223372036854775808}}', "features[...]"),
        ('{"features": {"age": [1e300]}}', "features[...][0]"),
        ('{"context": {"age": 1e999}}', "context[...]"),
        ('{"kind": "advert"}', "kind"),
        ('{"filters": []}', "filters"),
        ('{"filters": {"a": {"any_of": "x"}}}', "filters[...].any_of"),
        ('{"filters": {"a": {"any_of": []}}}', "filters[...].any_of"),
        ('{"filters": {"a": {"any_of": [null]}}}', "filters[...].any_of[0]"),
        ('{"filters": {"a": {"any": ["x"]}}}', "filters[...].any"),
        ('{"filters": {"a": {"min": "soon"}}}', "filters[...].min"),
        ('{"filters": {"a": {"max": true}}}', "filters[...].max"),
        ('{"filters": {"a": {"max": 1e300}}}', "filters[...].max"),
        ('{"exclude": [1]}', "exclude[0]"),
        ('{"exclude": null}', "exclude"),
        ('{"exclude_seen": 1}', "exclude_seen"),
        ('{"timestamp": 1700000000}', "timestamp"),
        ('{"K": 3}', "K"),
    ],
)
def test_wrong_value_is_refused_at_its_field(body: str, field: str) -> None:
    refusal = refused(body)
    assert (refusal.status, refusal.field) == (422, field)
    assert str(refusal).startswith(f"{field} is not as expected: ")


@pytest.mark.parametrize("body", ["[]", "3", '"{}"', "null", "true"])
def test_json_that_is_no_object_is_refused(body: str) -> None:
    refusal = refused(body)
    assert (refusal.status, refusal.field) == (422, None)
    assert str(refusal).startswith("the request is not as expected: Expected `object`, got ")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"{} {}",
        b"{'k': 3}",
        b'{"k": 03}',
        b'{"k": NaN}',
        b'{"features": {"age": Infinity}}',
        b'{"features": {"age": -Infinity}}',
        b"\xef\xbb\xbf{}",
        b'{"user_id": "\xff"}',
        b'{"user_id": "\xed\xa0\x80"}',
        b'{"user_id": "\\ud800"}',
        b'{"user_id": "\\udc00\\ud800 "}',
        b"\x1f\x8b\x08\x00",
        b"k=3",
    ],
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    refusal = refused(body)
    assert (refusal.status, refusal.field) == (400, None)
    assert str(refusal).startswith(f"the body must be JSON in UTF-8, got {len(body)} bytes that are not: ")


@pytest.mark.parametrize("body", ["[" * 100_000, '{"features": {"a": ' + "[" * 100_000, '{"a":' * 100_000])
def test_deep_nesting_is_refused_like_anything_else(body: str) -> None:
    assert refused(body).status == 422
    with pytest.raises(Refusal, match="nests too deep") as caught:
        read_batch(b'{"requests": [' + body.encode())
    assert caught.value.status == 400


def test_any_unicode_may_name_a_user_or_an_item() -> None:
    ids = ["Zoë", "用户", "🎬", "\u0000", "a\u0301", "\u202eabc", "\U0010ffff"]
    request = read(msgspec.json.encode({"user_id": ids[0], "history": ids[1:4], "exclude": ids[4:6]}))
    assert request.user_id == ids[0]
    assert request.history == tuple(ids[1:4])
    assert request.exclude == tuple(ids[4:6])


def test_surrogate_pair_is_one_character() -> None:
    assert read(b'{"user_id": "\\ud83c\\udfac"}').user_id == "🎬"


def test_of_a_key_that_occurs_twice_the_last_counts() -> None:
    assert read('{"k": 3, "k": 4}').k == 4


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"history": ["a", "b", "c", "d"]}', "history may hold at most 3 entries, got 4; send the latest"),
        ('{"exclude": ["a", "b", "c"]}', "exclude may hold at most 2 entries, got 3"),
    ],
)
def test_more_than_the_limit_is_refused_not_cut(body: str, message: str) -> None:
    refusal = refused(body)
    assert refusal.status == 422
    assert str(refusal).startswith(message)


@pytest.mark.parametrize(("body", "n"), [(b'{"requests": []}', 0), (b'{"requests": [1, 2, 3]}', 3)])
def test_batch_of_a_wrong_size_is_refused(body: bytes, n: int) -> None:
    with pytest.raises(Refusal, match=f"requests .* got {n}; ") as caught:
        limits.validate_batch_size(read_batch(body), LIMITS)
    assert (caught.value.status, caught.value.field) == (422, "requests")


def test_filters_beyond_the_limits_are_refused() -> None:
    many = refused('{"filters": {"a": {}, "b": {}, "c": {}}}')
    assert (many.status, many.field) == (422, "filters")
    assert str(many).startswith("filters may hold at most 2 entries, got 3; filter by fewer attributes")
    long = refused('{"filters": {"a": {"none_of": [1, 2, 3, 4]}}}')
    assert (long.status, long.field) == (422, "filters.a.none_of")
    assert str(long).startswith("filters.a.none_of may hold at most 3 entries, got 4; name fewer values")


def test_moment_that_does_not_exist_is_refused_at_its_filter() -> None:
    refusal = refused('{"filters": {"listed": {"min": "2026-02-30"}}}')
    assert (refusal.status, refusal.field) == (422, "filters.listed")
    assert str(refusal).startswith("filters.listed: day is out of range for month; correct the bound")


def test_refusal_repeats_only_so_much_of_what_came() -> None:
    assert len(str(refused(f'{{"{"x" * 10_000}": 1}}'))) < 400


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from([*wire.RecommendRequest.__struct_fields__, "other"])


def status(body: bytes) -> int:
    """Returns the status of a request: 200 if its body can be read."""
    try:
        read(body)
    except Refusal as refusal:
        return refusal.status
    return 200


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(fields, json_values, max_size=4))
def test_any_json_is_read_or_is_the_callers_fault(body: dict[str, Any]) -> None:
    assert status(msgspec.json.encode(body)) in {200, 422}


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_are_the_callers_fault(body: bytes) -> None:
    assert status(body) in {200, 400, 422}


def test_answer_is_told_with_what_it_lacks_only_where_it_lacks() -> None:
    answer = Answer(
        items=(Recommendation("a", 1.5, ItemKind.ad),), source=Source.history, version="7", requested=1
    )
    told = msgspec.json.decode(msgspec.json.encode(RecommendAnswer.of(answer, "id-1")))
    assert told == {
        "request_id": "id-1",
        "tier": "personal",
        "version": "7",
        "source": "history",
        "items": [{"item_id": "a", "score": 1.5, "kind": "ad"}],
        "requested": 1,
        "returned": 1,
    }


def test_short_answer_says_why() -> None:
    answer = Answer(
        items=(),
        source=Source.popular,
        version="7",
        requested=2,
        short_reason="all are excluded",
        fallback_reason="no history is known",
        unknown_history=3,
        ignored_features=("agee",),
    )
    told = msgspec.json.decode(msgspec.json.encode(RecommendAnswer.of(answer, "id-1")))
    assert (told["requested"], told["returned"], told["short_reason"]) == (2, 0, "all are excluded")
    assert (told["fallback_reason"], told["unknown_history"], told["ignored_features"]) == (
        "no history is known",
        3,
        ["agee"],
    )


def test_every_event_kind_can_be_told() -> None:
    for kind in EventKind:
        (event,) = read(f'{{"history": [{{"item_id": "a", "kind": "{kind}"}}]}}').history
        assert isinstance(event, HistoryEvent)
        assert event.kind == kind
