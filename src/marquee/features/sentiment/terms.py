"""Cuts a text of feedback into terms: words that know of a negation before them, pairs, and pieces of words.

`not good` must not read as `good`: a word behind a negation, up to the next stop, is a term of its own.
Pieces of words carry over to words that training never saw. Beside the terms stands a handful of numbers made
of the strengths of known words, which hold for every shop alike.
"""

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise

from marquee.features.sentiment.words import BOOSTERS, NEGATIONS, STRENGTHS, TURNS

# A text beyond this is cut: a form field is no place for a novel, and the time per text stays bounded.
MAX_CHARACTERS = 5_000
MAX_TOKEN = 40

PIECE_LENGTHS = range(2, 6)
NEGATION_REACH = 3
NEGATED = "not_"
BOOST = 1.4
# "Not good" blames less than "bad" does.
NEGATED_SHARE = -0.7

_TOKEN = re.compile(r"[^\W\d_]+(?:['\-][^\W\d_]+)*|\d+(?:/\d+)?|[!?]+|[.,;:]")
# As word processors and telephones write it.
CURLY_APOSTROPHE = "\u2019"
_STOPS = frozenset(".;!?:")
_ENDINGS = ("s", "es", "d", "ed", "ing", "ly", "r", "er", "est", "st", "ness", "y", "ful")


def split_tokens(text: str) -> list[str]:
    """Returns words, numbers and marks of a text in lower case.

    Example:
        >>> split_tokens("It didn't work, sadly!! 2/10")
        ['it', "didn't", 'work', ',', 'sadly', '!!', '2/10']
    """
    return [
        token[:MAX_TOKEN]
        for token in _TOKEN.findall(text[:MAX_CHARACTERS].lower().replace(CURLY_APOSTROPHE, "'"))
    ]


@lru_cache(maxsize=65_536)
def is_negation(token: str) -> bool:
    """Returns whether a token turns what follows into its opposite.

    Example:
        >>> [is_negation(token) for token in ("not", "didn't", "note")]
        [True, True, False]
    """
    return token.endswith("n't") or token.replace("'", "") in NEGATIONS


# Requests cannot make it grow: bounded in entries, and a token in length.
@lru_cache(maxsize=65_536)
def strength_of(token: str) -> int:
    """Returns how much a word praises or blames, 0 if it is not known.

    Example:
        >>> [strength_of(word) for word in ("loved", "recommending", "worst", "table")]
        [3, 3, -4, 0]
    """
    if token in STRENGTHS:
        return STRENGTHS[token]
    for ending in _ENDINGS:
        if token.endswith(ending) and len(token) - len(ending) >= 3:
            stem = token[: -len(ending)]
            doubled = stem[:-1] if len(stem) > 3 and stem[-1] == stem[-2] else stem
            candidates = (stem, stem + "e", doubled, stem[:-1] + "y" if stem.endswith("i") else stem)
            for candidate in candidates:
                if candidate in STRENGTHS:
                    return STRENGTHS[candidate]
    return 0


def word_terms(tokens: Iterable[str]) -> Counter[str]:
    """Returns how often each word and pair of words stands in a text, negated ones marked.

    Example:
        >>> sorted(word_terms(split_tokens("not good, but cheap")))
        ['but', 'but cheap', 'cheap', 'not', 'not not_good', 'not_good', 'not_good but']
    """
    words: list[str] = []
    reach = 0
    for token in tokens:
        if token[0] in _STOPS or token == ",":
            reach = 0
            if token[0] in "!?":
                words.append(token)
            continue
        words.append(NEGATED + token if reach > 0 else token)
        reach = NEGATION_REACH if is_negation(token) else reach - 1
    terms = Counter(words)
    terms.update(f"{first} {second}" for first, second in pairwise(words))
    return terms


def piece_terms(tokens: Iterable[str]) -> Counter[str]:
    """Returns how often each piece of two to five characters stands in the words of a text, ends marked.

    Example:
        >>> sorted(piece_terms(["ok"]))
        [' o', ' ok', ' ok ', 'k ', 'ok', 'ok ']
    """
    terms: Counter[str] = Counter()
    for token in tokens:
        terms.update(_pieces(token))
    return terms


@lru_cache(maxsize=65_536)
def _pieces(token: str) -> tuple[str, ...]:
    """Pieces of a word between two spaces."""
    marked = f" {token} "
    return tuple(
        marked[start : start + length]
        for length in PIECE_LENGTHS
        for start in range(len(marked) - length + 1)
    )


STRENGTH_NAMES = (
    "balance",
    "praise",
    "blame",
    "praising words",
    "blaming words",
    "last word of judgement",
    "first word of judgement",
    "strongest praise",
    "strongest blame",
    "negations",
    "exclamation marks",
    "asks",
    "sign",
)


def strengths(tokens: list[str]) -> list[float]:
    """Returns numbers made of the words of judgement in a text, in the order of `STRENGTH_NAMES`.

    A negation turns the next words around, up to a stop; a booster before a word makes it stronger; behind a
    `but` words count more than before it.
    """
    found, n_before_turn = _judgements(tokens)
    praise = [value for value in found if value > 0]
    blame = [value for value in found if value < 0]
    # "The food was good but …": the second half is what the writer came to say.
    after = 1.5 if n_before_turn else 1.0
    weighted = 0.5 * sum(found[:n_before_turn]) + after * sum(found[n_before_turn:])
    total_praise, total_blame = sum(praise), -sum(blame)
    return [
        weighted / (weighted * weighted + 15) ** 0.5,
        total_praise / (total_praise + 3),
        total_blame / (total_blame + 3),
        len(praise) / 3,
        len(blame) / 3,
        found[-1] / 3 if found else 0.0,
        found[0] / 3 if found else 0.0,
        max(found, default=0.0) / 4,
        min(found, default=0.0) / 4,
        min(sum(map(is_negation, tokens)), 3) / 3,
        sum(token[0] == "!" for token in tokens) / 3,
        float(any("?" in token for token in tokens)),
        float((weighted > 0) - (weighted < 0)),
    ]


def _judgements(tokens: list[str]) -> tuple[list[float], int]:
    """Returns the strengths of the words of judgement in order, and how many stand before the last `but`."""
    found: list[float] = []
    reach = n_before_turn = 0
    for place, token in enumerate(tokens):
        if token[0] in _STOPS or token in TURNS:
            reach = 0
            n_before_turn = len(found) if token in TURNS else n_before_turn
            continue
        strength = float(strength_of(token))
        if strength:
            if place and tokens[place - 1] in BOOSTERS:
                strength *= BOOST
            found.append(strength * NEGATED_SHARE if reach > 0 else strength)
        reach = NEGATION_REACH if is_negation(token) else reach - 1
    return found, n_before_turn
