"""Rows on sentiment: five folds of labelled sentences, each source from the others, and texts per second."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from time import process_time

import numpy as np

from benchmarks.rows import Measured, Row
from marquee.core.arrays import BoolArray
from marquee.evaluation.probabilities.metrics import auc, calibration_error
from marquee.marketing.sentiment.fitting import cross_score, fit_sentiment

SOURCES = ("amazon_cells", "imdb", "yelp")


def rows(root: Path) -> Iterator[Row]:
    """Yields the rows."""
    yield Row(
        "sentiment, sentiment-labelled, 5 folds",
        "TF-IDF and logistic 0.922, VADER 0.899, TF-IDF with its lexicon 0.944",
        "be 0.935 or more",
        partial(folds, root),
    )
    yield Row(
        "sentiment, each source from the others",
        "TF-IDF and logistic 0.859, with lexicon features 0.922 on average (0.940, 0.899, 0.928)",
        "be 0.90 or more, each",
        partial(across, root),
    )
    yield Row("sentiment, texts per second", "one core", "be 2,000 or more", partial(speed, root))


def read_texts(root: Path, source: str) -> tuple[list[str], BoolArray]:
    """Returns sentences and whether each praises."""
    path = root / "sentiment-labelled" / f"{source}_labelled.txt"
    # Not by `splitlines`: some sentences hold characters that it takes for ends of lines.
    lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line]
    pairs = [line.rsplit("\t", 1) for line in lines]
    return [text.strip() for text, _ in pairs], np.array([label == "1" for _, label in pairs])


def _all_texts(root: Path) -> tuple[list[str], BoolArray]:
    """Returns the sentences of all sources."""
    parts = [read_texts(root, source) for source in SOURCES]
    return [text for texts, _ in parts for text in texts], np.concatenate([praises for _, praises in parts])


def folds(root: Path) -> Measured:
    """Measures sentences by models that were fitted to the others."""
    texts, praises = _all_texts(root)
    scores = cross_score(texts, praises, np.random.default_rng(0))
    area = auc(scores, praises)
    error = calibration_error(scores, praises)
    hits = float(((scores > 0.5) == praises).mean())
    return Measured(f"AUC {area:.4f}, accuracy {hits:.3f}, calibration error {error:.3f}", area >= 0.935)


def across(root: Path) -> Measured:
    """Measures each source by a model of the other two."""
    areas = {}
    for source in SOURCES:
        others = [read_texts(root, other) for other in SOURCES if other != source]
        model = fit_sentiment(
            [text for texts, _ in others for text in texts],
            np.concatenate([praises for _, praises in others]),
        )
        texts, praises = read_texts(root, source)
        areas[source] = auc(model.score(texts), praises)
    text = ", ".join(f"{source} {area:.3f}" for source, area in areas.items())
    return Measured(f"{text}; mean {np.mean(list(areas.values())):.3f}", min(areas.values()) >= 0.90)


def speed(root: Path) -> Measured:
    """Measures texts per second of one core, after the words were seen once; waiting does not count."""
    texts, praises = _all_texts(root)
    model = fit_sentiment(texts, praises)
    model.score(texts)
    started = process_time()
    model.score(texts)
    per_second = len(texts) / (process_time() - started)
    return Measured(f"{per_second:,.0f} texts per second of one core", per_second >= 2000)
