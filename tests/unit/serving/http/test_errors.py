"""The error table: every class of ours has a status, and faults of ours are never explained to a caller."""

from collections.abc import Iterator

import pytest

from marquee.errors import BundleError, ChecksumError, DataError, MarqueeError, NotFittedError, UnknownIdError
from serving.http.errors import PROBLEM_OF_ERROR, Problem, Refusal, refusal_of


def walk(error: type[MarqueeError]) -> Iterator[type[MarqueeError]]:
    yield error
    for child in error.__subclasses__():
        yield from walk(child)


@pytest.mark.parametrize("error", list(walk(MarqueeError)))
def test_every_error_class_has_a_word(error: type[MarqueeError]) -> None:
    assert error in PROBLEM_OF_ERROR, f"decide the word of {error.__name__} in serving.http.errors"


def test_no_word_is_another_name_for_the_same_problem() -> None:
    """Members of an enum with equal values become one, and the second word would be lost silently."""
    assert list(Problem) == list(Problem.__members__.values())
    assert len({problem.description for problem in Problem}) == len(Problem)


def test_word_of_a_refusal_decides_its_status() -> None:
    refusal = Refusal(Problem.release_refused, "it is broken")
    assert (refusal.status, refusal.answer("id-1").error.code) == (409, "release_refused")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (DataError("k must be 1 or more, got 0"), 422),
        (UnknownIdError("item_id 'x' is unknown"), 404),
        (BundleError("broken"), 503),
        (NotFittedError("called too early"), 500),
        (ZeroDivisionError("division by zero"), 500),
    ],
)
def test_status_follows_from_who_must_act(error: Exception, status: int) -> None:
    assert refusal_of(error).status == status


def test_message_for_the_caller_is_passed_on() -> None:
    assert str(refusal_of(UnknownIdError("item_id 'x' is unknown"))) == "item_id 'x' is unknown"


@pytest.mark.parametrize(
    "error", [ChecksumError("/secret/path is bad"), KeyError("secret"), MarqueeError("secret")]
)
def test_details_of_our_own_faults_are_kept(error: Exception) -> None:
    assert "secret" not in str(refusal_of(error))


def test_refusal_is_passed_on_as_it_is() -> None:
    refusal = Refusal(Problem.invalid_request, "k is wrong", field="k")
    assert refusal_of(refusal) is refusal
    body = refusal.answer("id-1").error
    assert (body.code, body.message, body.request_id, body.field) == (
        "invalid_request",
        "k is wrong",
        "id-1",
        "k",
    )


def test_busy_service_says_when_to_come_back() -> None:
    assert (b"retry-after", b"1") in refusal_of(BundleError("broken")).headers
