"""Terms of feedback: negations reach up to a stop, pieces are bounded, known words have strengths."""

import pytest

from marquee.features.sentiment.terms import (
    MAX_CHARACTERS,
    STRENGTH_NAMES,
    piece_terms,
    split_tokens,
    strength_of,
    strengths,
    word_terms,
)
from marquee.features.sentiment.words import STRENGTHS


def balance(text: str) -> float:
    return strengths(split_tokens(text))[0]


def test_negation_reaches_three_words_and_no_stop() -> None:
    terms = word_terms(split_tokens("I never ever saw such quality. Good"))
    assert {"not_ever", "not_saw", "not_such", "quality", "good"} <= set(terms)
    assert "not_good" not in terms


def test_curly_apostrophes_and_left_out_ones_negate_alike() -> None:
    for written in ("didn't", "didn\u2019t", "did" + "nt"):
        assert "not_work" in word_terms(split_tokens(f"it {written} work"))


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("good", "not good"),
        ("not bad", "bad"),
        ("very good", "good"),
        ("not good", "awful"),
        ("It was slow, but I love it", "I love it, but it was slow"),
        ("disappointing? no. great", "disappointing"),
    ],
)
def test_balance_orders_texts_as_people_do(better: str, worse: str) -> None:
    assert balance(better) > balance(worse)


@pytest.mark.parametrize(
    "text", ["", "!!!", "?", "…", "の商品", "a" * 100_000, "not", "but but but", "12/10"]
)
def test_any_text_has_its_numbers(text: str) -> None:
    tokens = split_tokens(text)
    assert len(strengths(tokens)) == len(STRENGTH_NAMES)
    assert sum(map(len, tokens)) <= MAX_CHARACTERS
    assert piece_terms(tokens).total() < 4 * MAX_CHARACTERS


def test_forms_of_known_words_have_their_strength() -> None:
    assert strength_of("fantastic") == STRENGTHS["fantastic"]
    assert strength_of("recommends") == strength_of("recommend")
    assert strength_of("frustrates") < 0
    assert strength_of("happiest") > 0
    assert strength_of("es") == 0
