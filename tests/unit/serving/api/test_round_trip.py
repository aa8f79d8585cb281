"""No field is lost on its way: service to client, client to service, message to library and back."""

from dataclasses import MISSING, fields

import msgspec
import pytest

from marquee.client import messages as of_client
from marquee.decision.requests import Answer, Request
from marquee.store.people.consent import Tier
from serving.api.messages.answers import RECOMMEND_ANSWER, BatchAnswer, RecommendAnswer
from serving.api.messages.limits import to_request
from serving.api.messages.reading import reader
from serving.api.messages.requests import RecommendRequest
from serving.api.routes import ROUTES
from serving.config import Settings
from serving.http.errors import ErrorAnswer
from serving.releases.surfaces import Surface
from tests.support.filled import filled

REQUESTS = list(dict.fromkeys(route.message for route in ROUTES if route.message))
ANSWERS = [
    answer
    for answer in dict.fromkeys([*(route.answer for route in ROUTES if route.answer), ErrorAnswer])
    if answer is not BatchAnswer  # its parts are answers and errors, each read by itself
]


@pytest.mark.parametrize("message", [*REQUESTS, *ANSWERS])
def test_every_field_of_a_message_is_read_as_it_was_written(message: type[msgspec.Struct]) -> None:
    told = filled(message)
    assert msgspec.json.decode(msgspec.json.encode(told), type=message) == told


@pytest.mark.parametrize("message", [*REQUESTS, *ANSWERS])
def test_client_reads_and_sends_every_field(message: type[msgspec.Struct]) -> None:
    text = msgspec.json.encode(filled(message))
    read = msgspec.json.decode(text, type=getattr(of_client, message.__name__))
    assert msgspec.json.decode(msgspec.json.encode(read)) == msgspec.json.decode(text)


@pytest.mark.parametrize("message", REQUESTS)
def test_service_reads_every_field_that_a_client_can_send(message: type[msgspec.Struct]) -> None:
    sent = msgspec.json.decode(
        msgspec.json.encode(filled(message)), type=getattr(of_client, message.__name__)
    )
    assert set(sent.__struct_fields__) == set(message.__struct_fields__)
    assert reader(message)(msgspec.json.encode(sent)) == filled(message)


def test_every_field_of_a_request_reaches_the_library() -> None:
    surface = Surface(name="home", bundle="", settings=Settings())
    request = to_request(filled(RecommendRequest), surface, timestamp=1_700_000_000)
    # What a question for similar items says, which is another message.
    others = {"like_item"}
    # `filled` takes the first tier, which is the default as well.
    others |= {"tier"}
    # The surface says how places are drawn, the service names the decision.
    others |= {"exploration", "decision_id"}
    # People decide the rules, of all answers alike.
    others |= {"rules"}
    # Campaigns decide whether ads are looked for beside content.
    others |= {"ads"}
    # The surface says what the user counts beside words.
    others |= {"history_weight"}
    kept = [
        one.name
        for one in fields(Request)
        if getattr(request, one.name)
        == (one.default_factory() if one.default_factory is not MISSING else one.default)
    ]
    assert set(kept) <= others


def test_every_field_of_an_answer_is_told() -> None:
    answer = filled(Answer)
    told = RecommendAnswer.of(answer, "id-1", took_ms={"total": 1.5}, tier=Tier.segment)
    assert isinstance(told, RECOMMEND_ANSWER)
    plain = msgspec.json.decode(msgspec.json.encode(told))
    own = {"request_id": "id-1", "returned": len(answer.items), "took_ms": {"total": 1.5}, "tier": "segment"}
    assert plain == msgspec.json.decode(msgspec.json.encode(answer)) | own
