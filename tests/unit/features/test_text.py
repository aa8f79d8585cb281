import unicodedata
import zlib
from time import perf_counter

import pytest

from marquee.features.text import split_words, text_rows


def slow_rows(words: list[str], size: int, n_rows: int) -> list[int]:
    """Every word in marks, then every n-gram of the marked words, hashed, without repetition."""
    marked = ["<" + word + ">" for word in words]
    pieces = list(marked)
    for word in marked:
        pieces += [word[i : i + size] for i in range(len(word)) if i + size <= len(word)]
    return list(dict.fromkeys(zlib.crc32(piece.encode("utf-8")) % n_rows for piece in pieces))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Toy Story (1995)", ["toy", "story", "1995"]),
        ("\uff26\uff55\uff4c\uff4c \ufb01lm", ["full", "film"]),
        ("don't stop_now", ["don", "t", "stop", "now"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("soft\u00adhyphen e\u0301t", ["softhyphen", "ét"]),
        ("日本語 и русский", ["日本語", "и", "русский"]),
        ("\ud800 broken", ["broken"]),
        ("?! — …", []),
    ],
)
def test_words_are_normalised_and_lower_case(text: str, words: list[str]) -> None:
    assert split_words(text) == words


@pytest.mark.parametrize("text", ["Plain WORDS, 3 of them", "a-b_c.d", "tab\tand\nline", "$5.00 & more"])
def test_the_quick_way_for_ascii_equals_the_general_way(text: str) -> None:
    non_ascii_word = "é"
    assert split_words(f"{text} {non_ascii_word}") == [*split_words(text), non_ascii_word]


def test_rows_equal_a_slow_hash_of_words_and_ngrams() -> None:
    assert text_rows("Matrix, the matrix!", (3,), 1_000, 100) == slow_rows(["matrix", "the"], 3, 1_000)


def test_several_ngram_sizes_are_taken_together() -> None:
    both = text_rows("recommender", (3, 4), 10**6, 100)
    assert set(both) == {row for size in (3, 4) for row in slow_rows(["recommender"], size, 10**6)}


def test_words_are_kept_before_ngrams_when_room_is_short() -> None:
    words = [zlib.crc32(f"<{word}>".encode()) % 10**6 for word in ("alpha", "beta", "gamma")]
    assert text_rows("alpha beta gamma", (3,), 10**6, 3) == words
    assert text_rows("alpha beta gamma", (3,), 10**6, 5)[:3] == words


def test_no_ngram_sizes_give_words_alone() -> None:
    assert text_rows("alpha beta", (), 10**6, 10) == slow_rows(["alpha", "beta"], 99, 10**6)


def test_repeated_words_take_room_once() -> None:
    assert text_rows("so " * 50, (), 100, 4) == [zlib.crc32(b"<so>") % 100]


def test_a_rarely_seen_form_shares_rows_with_its_stem() -> None:
    known, new = set(text_rows("garden", (3,), 10**6, 99)), set(text_rows("gardening", (3,), 10**6, 99))
    assert len(known & new) >= 4  # <ga gar ard rde den


@pytest.mark.parametrize("text", ["x" * 10**6, "a\u0301\u0316" * 10**5, "\ufdfa" * 10**5, "ab " * 10**6])
def test_hostile_text_is_cut_before_it_costs_time(text: str) -> None:
    start = perf_counter()
    rows = text_rows(text, (3,), 1_000, 32)
    assert len(rows) <= 32
    assert perf_counter() - start < 0.5
    assert unicodedata.is_normalized("NFKC", "".join(split_words(text[:64])))
