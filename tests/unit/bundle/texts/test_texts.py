"""Texts of items: what a piece weighs, which items share one, and what of that a bundle keeps."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from marquee.bundle.bundle import Bundle
from marquee.bundle.publishing import publish
from marquee.bundle.texts import search
from marquee.bundle.texts.contents import TEXT_FILES, TextContents
from marquee.bundle.texts.search import TextSearch
from marquee.errors import BundleError, DataError
from tests.support.bundles import CREATED, N_ITEMS
from tests.support.texts import cosine, pieces_of, title_of, titled_contents, unknown_word


@pytest.fixture(scope="module")
def texts() -> TextSearch:
    found = Bundle.of(titled_contents(), CREATED).texts
    assert found is not None
    return found


@pytest.mark.parametrize("words", ["red lamp", "kettel", "No 7", "blue", "teapot green no 15"])
def test_likeness_is_the_cosine_of_weighted_pieces(texts: TextSearch, words: str) -> None:
    by_item = {number: pieces_of(title_of(number)) for number in range(1, N_ITEMS + 1)}
    everywhere = [piece for pieces in by_item.values() for piece in pieces]
    weight = {
        piece: math.log((1 + N_ITEMS) / (1 + everywhere.count(piece))) for piece in dict.fromkeys(everywhere)
    }
    known = {piece for piece in pieces_of(words) if weight.get(piece)}
    expected = {number: cosine(known, pieces, weight) for number, pieces in by_item.items()}
    pieces = texts.pieces(words)
    assert pieces is not None
    items, likeness = texts.likeness(pieces)
    assert items.tolist() == [number for number, value in expected.items() if value > 0]
    assert likeness == pytest.approx([expected[number] for number in items.tolist()], abs=1e-6)
    tokens = texts.encoder.encode({"title": [title_of(n) for n in range(1, N_ITEMS + 1)]}, N_ITEMS).tokens
    assert texts.likeness_of(pieces, tokens) == pytest.approx(list(expected.values()), abs=1e-6)


def test_text_that_shares_nothing_has_no_pieces(texts: TextSearch) -> None:
    assert texts.pieces("") is None
    assert texts.pieces("!?") is None
    assert texts.pieces(unknown_word()) is None


def test_rare_pieces_are_read_first_where_there_are_too_many(
    texts: TextSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces = texts.pieces("red lamp no 12")
    assert pieces is not None
    assert (np.diff(pieces.weights) <= 0).all()
    everything, _ = texts.likeness(pieces)
    monkeypatch.setattr(search, "MAX_POSTINGS", 1)
    rarest, _ = texts.likeness(pieces)
    assert rarest.tolist() == [12]
    assert len(everything) > 1


def test_scores_of_a_text_lie_one_apart(texts: TextSearch) -> None:
    pieces = texts.pieces("green kettle")
    assert pieces is not None
    vectors = titled_contents().index.item_vectors[1:]
    assert (vectors @ texts.direction(pieces)).std() == pytest.approx(1.0, rel=1e-5)
    assert (vectors @ texts.scaled(vectors[3])).std() == pytest.approx(1.0, rel=1e-5)
    assert not texts.scaled(np.zeros(4, dtype=np.float32)).any()


def test_directions_leave_the_bias_of_items_alone() -> None:
    contents = titled_contents(has_item_bias=True).texts
    assert contents is not None
    assert not contents.directions[:, -1].any()
    assert contents.directions[:, :-1].any()


def test_text_of_an_item_looks_for_that_item(texts: TextSearch) -> None:
    vectors = titled_contents().index.item_vectors
    ranks = []
    for number in range(1, N_ITEMS - 1):  # the last two have one vector
        title = title_of(number)
        if title is not None and (pieces := texts.pieces(title)) is not None:
            scores = (vectors[1:] - vectors[1:].mean(axis=0)) @ texts.direction(pieces)
            ranks.append(int((scores > scores[number - 1]).sum()))
    assert np.mean(ranks) < 4


def test_texts_survive_the_files(tmp_path: Path) -> None:
    contents = titled_contents()
    bundle = Bundle.load(publish(contents, tmp_path, "titled", created=CREATED))
    assert set(bundle.manifest.files) >= TEXT_FILES
    assert contents.texts is not None
    assert bundle.texts is not None
    for name, array in contents.texts.arrays().items():
        read = bundle.texts.contents.arrays()[name]
        assert (read.dtype, read.tolist()) == (array.dtype, array.tolist())


def test_bundle_without_text_features_has_no_texts(tmp_path: Path) -> None:
    contents = replace(titled_contents(), texts=None)
    bundle = Bundle.load(publish(contents, tmp_path, "plain", created=CREATED))
    assert bundle.texts is None
    assert not TEXT_FILES & set(bundle.manifest.files)


def damaged(contents: TextContents, how: str) -> None:
    offsets, items = contents.offsets.copy(), contents.items.copy()
    lengths = contents.lengths.copy()
    if how == "offsets":
        offsets[-1] += 1
    elif how == "falling":
        offsets[1] = len(items)
    elif how == "items":
        items[0] = N_ITEMS + 1
    else:
        lengths[1] = np.nan
    replace(contents, offsets=offsets, items=items, lengths=lengths)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("offsets", "offsets of texts must rise from 0 to"),
        ("falling", "offsets of texts must rise from 0 to"),
        ("items", rf"items of texts must be in 1 … {N_ITEMS}, got {N_ITEMS + 1}"),
        ("lengths", "lengths of texts must be finite"),
    ],
)
def test_texts_that_do_not_fit_are_refused(how: str, message: str) -> None:
    contents = titled_contents().texts
    assert contents is not None
    with pytest.raises(DataError, match=message):
        damaged(contents, how)


def test_some_files_of_texts_without_the_others_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = TextContents.arrays
    monkeypatch.setattr(
        TextContents, "arrays", lambda self: {n: a for n, a in whole(self).items() if n != "text_spread.npy"}
    )
    path = publish(titled_contents(), tmp_path, "half", created=CREATED)
    with pytest.raises(BundleError, match=r"the files of texts .* says .*, expected .*text_spread"):
        Bundle.load(path)
