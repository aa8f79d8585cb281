"""A fitted sentiment: beside scikit-learn, from plain JSON, and never judged by its own texts."""

import msgspec
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from marquee.core.arrays import BoolArray
from marquee.errors import DataError
from marquee.evaluation.probabilities.metrics import auc
from marquee.features.sentiment.model import SentimentModel
from marquee.marketing.sentiment.fitting import (
    PRIOR_VARIANCE,
    _logistic,
    _Terms,
    _weighed,
    cross_score,
    fit_sentiment,
)

GOOD = ("lovely", "great", "brill", "zippy", "works", "sturdy")
BAD = ("awful", "broken", "grim", "clunky", "late", "flimsy")
THINGS = ("phone", "kettle", "film", "soup", "parcel", "lamp", "table", "driver")


def feedback(n: int = 240, seed: int = 0) -> tuple[list[str], BoolArray]:
    """Sentences whose words of judgement agree with their label, some of them known to no list."""
    generator = np.random.default_rng(seed)
    praises = np.arange(n) % 2 == 0
    texts = []
    for number, praise in enumerate(praises):
        word = str(generator.choice(GOOD if praise else BAD))
        thing = str(generator.choice(THINGS))
        negated = generator.random() < 0.2
        if negated:
            word = str(generator.choice(BAD if praise else GOOD))
        texts.append(f"the {thing} is {'not ' if negated else ''}{word} and came in week {number}")
    return texts, praises


@pytest.fixture(scope="module")
def model() -> SentimentModel:
    return fit_sentiment(*feedback())


def test_scores_order_new_texts_and_negations(model: SentimentModel) -> None:
    good, not_good, bad, not_bad = model.score(
        ["the sofa is zippy", "the sofa is not zippy", "the sofa is clunky", "the sofa is not clunky"]
    )
    assert min(good, not_bad) > 0.5 > max(bad, not_good)


def test_the_model_is_json_and_scores_the_same_after_it(model: SentimentModel) -> None:
    texts, _ = feedback(40, seed=9)
    read = msgspec.json.decode(msgspec.json.encode(model), type=SentimentModel)
    assert np.array_equal(read.score(texts), model.score(texts))


def test_rows_of_the_fit_and_of_the_service_are_the_same(model: SentimentModel) -> None:
    texts, praises = feedback()
    terms = _Terms.of(texts)
    _, _, words = _weighed(terms.words, 1)
    _, _, pieces = _weighed(terms.pieces, 2)
    by_rows = (
        words @ np.array(model.words.weights)
        + pieces @ np.array(model.pieces.weights)
        + terms.strengths @ np.array(model.strength_weights)
        + model.intercept
    )
    assert model.logits(texts) == pytest.approx(by_rows, abs=1e-9)
    assert len(praises) == len(by_rows)


def test_weights_are_those_of_scikit_learn() -> None:
    texts, praises = feedback()
    _, _, words = _weighed(_Terms.of(texts).words, 1)
    weights, intercept = _logistic(words, praises)
    oracle = LogisticRegression(C=PRIOR_VARIANCE, tol=1e-8, max_iter=5_000).fit(words.toarray(), praises)
    assert weights == pytest.approx(oracle.coef_[0], abs=2e-3)
    assert intercept == pytest.approx(oracle.intercept_[0], abs=2e-3)


def test_scores_are_of_models_that_did_not_see_the_text() -> None:
    texts, _ = feedback(200)
    # Labels drawn by lot cannot be known; copies of a text share their lot, and would be known by their twin.
    lots = np.random.default_rng(1).random(200) < 0.5
    scores = cross_score(texts * 2, np.concatenate([lots, lots]), np.random.default_rng(0))
    assert 0.35 < auc(scores, np.concatenate([lots, lots])) < 0.65
    ordered = cross_score(*feedback(), np.random.default_rng(0))
    assert auc(ordered, feedback()[1]) > 0.95


def test_equal_texts_give_equal_bytes(model: SentimentModel) -> None:
    assert msgspec.json.encode(fit_sentiment(*feedback())) == msgspec.json.encode(model)
    assert fit_sentiment(*feedback(seed=5)).version != model.version


@pytest.mark.parametrize(("n", "n_praise"), [(30, 15), (150, 5), (150, 150)])
def test_too_few_labels_are_refused_with_both_counts(n: int, n_praise: int) -> None:
    with pytest.raises(DataError, match=f"got {n_praise} that praise and {n - n_praise} that blame"):
        fit_sentiment(["fine"] * n, np.arange(n) < n_praise)
