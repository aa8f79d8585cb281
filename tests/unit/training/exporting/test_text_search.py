"""Directions of words: ridge regression, in closed form."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from marquee.features import FeatureConfig, FeatureEncoder, FeatureType
from training.exporting import text_search
from training.exporting.text_search import fit_text_search, solve_ridge


def test_conjugate_gradients_give_the_closed_form() -> None:
    rng = np.random.default_rng(0)
    texts = (rng.random((30, 12)) < 0.3).astype(np.float64)
    wanted = rng.normal(size=(30, 3))
    # A column that is solved from the beginning divides by nothing.
    wanted[:, 1] = 0.0
    expected = np.linalg.solve(texts.T @ texts + 0.5 * np.eye(12), texts.T @ wanted)
    assert solve_ridge(csr_array(texts), wanted, 0.5) == pytest.approx(expected, abs=1e-3)


def test_no_text_feature_gives_no_texts() -> None:
    encoder = FeatureEncoder.fit({"genre": FeatureConfig()}, {"genre": ["a", "b"]})
    tokens = encoder.encode({"genre": ["a", "b"]}, 2).with_padding_row().tokens
    vectors = np.ones((3, 2), dtype=np.float32)
    assert fit_text_search(encoder, tokens, vectors, has_item_bias=False) is None


def test_pieces_of_several_texts_stand_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between other features, and learned from some of the items alone."""
    configs = {
        "title": FeatureConfig(type=FeatureType.text, max_tokens=4, buckets=50, char_ngrams=[]),
        "genre": FeatureConfig(),
        "summary": FeatureConfig(type=FeatureType.text, max_tokens=4, buckets=50, char_ngrams=[]),
    }
    columns: dict[str, list[object]] = {
        "title": ["lamp", "kettle", None, "lamp"],
        "genre": ["x", "y", "x", "y"],
        "summary": ["bright", None, "lamp", "old lamp"],
    }
    encoder = FeatureEncoder.fit(configs, columns)
    tokens = encoder.encode(columns, 4).with_padding_row().tokens
    vectors = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    monkeypatch.setattr(text_search, "MAX_FITTED", 2)
    found = fit_text_search(encoder, tokens, vectors, has_item_bias=False)
    assert found is not None
    by_piece = [part.tolist() for part in np.split(found.items, found.offsets[1:-1])]
    # "lamp" is another piece in a title than in a summary.
    assert sorted(items for items in by_piece if items) == [[1], [1, 4], [2], [3, 4], [4]]
    assert np.isfinite(found.directions).all()
    expected = np.cov(vectors[1:].T.astype(np.float64), ddof=0)
    assert found.spread == pytest.approx(expected, abs=1e-5)
