"""A click head for the tiny bundle, its graph written by hand: what it says can be worked out in the head."""

from dataclasses import replace

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from marquee.bundle.clicks.contents import HeadContents, HeadSpec
from marquee.bundle.clicks.head import item_numbers
from marquee.bundle.contents import BundleContents
from marquee.core.arrays import FloatArray
from marquee.features.exposures.counts import CountTable
from marquee.features.exposures.layout import CountLayout, countable_columns
from marquee.features.exposures.shown_before import column_names
from tests.support.bundles import NOW

PLACES = (("home", 1), ("home", 2), ("shop", 1))
PLACE_LOGITS: FloatArray = np.array([[0.0, 0.0], [1.0, 0.5], [-1.0, 0.5], [2.0, 0.0]], dtype=np.float32)
SHOWN_TO_FIRST_USER = (3, 5, 3)
"""Items shown to u1, a day before `NOW`; the last one was clicked."""


def head_for(contents: BundleContents, score_weight: float = 0.0) -> HeadContents:
    """Returns a head of logits that can be added up: columns, place and score.

    Args:
        contents: Of the bundle that it is to stand in.
        score_weight: What the score of the towers counts.
    """
    n_items = contents.catalog.n_items
    query = countable_columns(contents.query_features, is_single=True)
    item = countable_columns(contents.item_features, is_single=False)
    layout = CountLayout(query, item, n_items)
    columns = {
        name: contents.catalog.attributes[name].to_list()
        for name in {feature.column for feature in contents.item_features.features}
    }
    features = contents.item_features.encode(columns, n_items).with_padding_row()
    slots = layout.item_slots(features.tokens)
    counts = CountTable.empty(layout)
    counts.expected[:] = np.arange(layout.n_cells) % 5
    counts.came[:] = np.arange(layout.n_cells) % 3
    numbers = item_numbers(features, contents.catalog.is_ad)
    names = (*layout.column_names, *column_names(tuple(column.name for column in item)), "is ad")
    shown = np.array(SHOWN_TO_FIRST_USER, dtype=np.int32)
    offsets = np.full(len(contents.user_ids) + 2, len(shown), dtype=np.int64)
    offsets[:2] = 0
    return HeadContents(
        graph=_graph(len(names), score_weight),
        spec=HeadSpec(
            places=PLACES,
            query_columns=query,
            item_columns=item,
            columns=names,
            window=2,
            mean_score=0.0,
            mean_delay=0.0,
        ),
        counts=np.stack([counts.came, counts.expected], axis=1).astype(np.float32),
        slots=slots.astype(np.int32),
        numbers=numbers,
        offsets=offsets,
        shown_items=shown,
        shown_expected=np.full(len(shown), 0.25, dtype=np.float32),
        shown_came=np.array([False, False, True]),
        shown_at=np.full(len(shown), NOW - 86_400),
    )


def with_head(contents: BundleContents, score_weight: float = 0.0) -> BundleContents:
    """Returns the contents with a click head."""
    return replace(contents, click_head=head_for(contents, score_weight))


def _graph(n_columns: int, score_weight: float) -> bytes:
    """Returns the graph: sigmoid(columns · 0.1 + the place's logits + the score's)."""
    constants = {
        "weights": np.full((n_columns, 2), 0.1, dtype=np.float32),
        "places": PLACE_LOGITS,
        "score_weight": np.array([score_weight], dtype=np.float32),
        "last_axis": np.array([1]),
    }
    nodes = [
        helper.make_node("MatMul", ["columns", "weights"], ["known"]),
        helper.make_node("Gather", ["places", "place"], ["of_place"]),
        helper.make_node("Unsqueeze", ["score", "last_axis"], ["score_column"]),
        helper.make_node("Mul", ["score_column", "score_weight"], ["of_score"]),
        helper.make_node("Sum", ["known", "of_place", "of_score"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["probabilities"]),
    ]
    inputs: dict[str, tuple[int, list[str | int | None]]] = {
        "columns": (TensorProto.FLOAT, ["n", n_columns]),
        "place": (TensorProto.INT64, ["n"]),
        "score": (TensorProto.FLOAT, ["n"]),
    }
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "click_head",
            [helper.make_tensor_value_info(name, *facts) for name, facts in inputs.items()],
            [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 2])],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())
