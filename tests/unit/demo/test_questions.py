"""The questions of the demo, and the answers that it takes for sensible."""

import re

import msgspec
import pytest

from demo.questions import Question, problems
from marquee.client import RecommendAnswer, Recommendation
from marquee.core.catalog import ItemKind

QUESTION = Question(
    who="a known user", kind=ItemKind.content, k=2, user_id="u1", seen=frozenset({"i1"}), history=("i1",)
)


def answer(*items: Recommendation, short_reason: str | None = None) -> RecommendAnswer:
    """Returns an answer that holds `items`."""
    return RecommendAnswer(
        request_id="r",
        version="v1",
        source="personal",
        items=items,
        requested=len(items),
        returned=len(items),
        short_reason=short_reason,
    )


def item(item_id: str, score: float = 0.0, kind: str = "content") -> Recommendation:
    """Returns one item of an answer."""
    return Recommendation(item_id=item_id, score=score, kind=kind)


def test_full_answer_in_order_has_no_problem() -> None:
    assert not list(problems(QUESTION, answer(item("i2", 2.0), item("i3", 1.0))))


def test_short_answer_with_a_reason_has_no_problem() -> None:
    assert not list(problems(QUESTION, answer(item("i2"), short_reason="only 1 item is left")))


@pytest.mark.parametrize(
    ("served", "expected"),
    [
        (answer(), "no content came back"),
        (answer(item("i2"), item("i3"), item("i4")), "3 items came back, 2 were wanted"),
        (answer(item("i2")), "1 of 2 items came back without a reason"),
        (answer(item("i2"), item("i2")), "an item came back twice"),
        (answer(item("i2", 1.0), item("i3", 2.0)), "the scores do not descend"),
        (answer(item("i2"), item("a1", kind="ad")), "content was wanted, ad came back"),
        (answer(item("i2"), item("i1")), r"items came back that the user has seen: \['i1'\]"),
    ],
    ids=["empty", "too many", "too few", "twice", "disorder", "other kind", "seen"],
)
def test_senseless_answer_is_told(served: RecommendAnswer, expected: str) -> None:
    assert any(re.match(expected, problem) for problem in problems(QUESTION, served))


def test_request_leaves_out_what_is_not_known() -> None:
    assert msgspec.to_builtins(QUESTION.request()) == {
        "user_id": "u1",
        "history": ("i1",),
        "kind": "content",
        "k": 2,
    }
    nobody = Question(who="nobody", kind=ItemKind.ad, k=3)
    assert msgspec.to_builtins(nobody.request()) == {"kind": "ad", "k": 3}
