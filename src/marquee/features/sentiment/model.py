"""A fitted sentiment as plain numbers: terms with their weights, read by numpy alone, kept as JSON.

The score is the probability that a text praises, by a logistic regression on TF-IDF of words and of pieces of
words, and on the strengths of known words.
"""

from collections import Counter
from collections.abc import Sequence
from math import log

import msgspec
import numpy as np

from marquee.core.arrays import Float64Array
from marquee.features.sentiment.terms import piece_terms, split_tokens, strengths, word_terms

SENTIMENT_FORMAT = 1


class TermTable(msgspec.Struct, frozen=True):
    """One kind of terms: how rare each is, and how much it says.

    Attributes:
        terms: Term → its place in the two lists.
        rarity: Inverse document frequency, ln((1 + n) / (1 + n with the term)) + 1.
        weights: Of the term in the logit, at a row of length 1.
    """

    terms: dict[str, int]
    rarity: list[float]
    weights: list[float]

    def score(self, counts: Counter[str]) -> float:
        """Returns the weighted sum over the known terms of a text, as a row of length 1; 0 without any."""
        total = square = 0.0
        for term, count in counts.items():
            place = self.terms.get(term)
            if place is not None:
                # Most terms stand once: a call for each of some hundred would be half of the time.
                value = self.rarity[place] if count == 1 else dampened(count) * self.rarity[place]
                square += value * value
                total += value * self.weights[place]
        return total / square**0.5 if square else 0.0


class SentimentModel(msgspec.Struct, frozen=True):
    """The probability that a text praises.

    Attributes:
        words: Words and pairs.
        pieces: Pieces of words.
        strength_weights: Of `terms.strengths`, in their order.
        intercept: Of the logit.
        version: Of the fit: equal texts and settings have equal versions.
        format: Of this file.
    """

    words: TermTable
    pieces: TermTable
    strength_weights: list[float]
    intercept: float
    version: str
    format: int = SENTIMENT_FORMAT

    def logits(self, texts: Sequence[str]) -> Float64Array:
        """Returns log-odds that each text praises, (n_texts,) float64; the intercept's for an empty one."""
        return np.array([self._logit(text) for text in texts], dtype=np.float64)

    def score(self, texts: Sequence[str]) -> Float64Array:
        """Returns the probability that each text praises, (n_texts,) float64."""
        # By tanh, which cannot overflow.
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * self.logits(texts))))

    def _logit(self, text: str) -> float:
        """Log-odds of one text."""
        tokens = split_tokens(text)
        of_strengths = sum(w * x for w, x in zip(self.strength_weights, strengths(tokens), strict=True))
        by_terms = self.words.score(word_terms(tokens)) + self.pieces.score(piece_terms(tokens))
        return self.intercept + of_strengths + by_terms


def dampened(count: int) -> float:
    """Returns 1 + ln(count): a word said ten times does not say ten times as much.

    Example:
        >>> dampened(1)
        1.0
    """
    return 1.0 + log(count) if count > 1 else 1.0
