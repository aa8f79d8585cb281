"""The cost of a live item: putting one on top of a catalog, and each search beside it afterwards.

`python -m benchmarks.live_items --check` fails above the budgets. The cost of a change must not grow with the
catalog: that is why live items are a segment of their own. Processor time, the least of several rounds.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
from onnx import TensorProto, helper, numpy_helper

from benchmarks.probe import slowness
from benchmarks.serving_bundle import DIM, FEW_USERS, make_contents, make_query_tower
from marquee.bundle.bundle import Bundle
from marquee.core.arrays import FloatArray
from marquee.decision.item_pool import ItemPool
from marquee.features import FeatureConfig, FeatureEncoder
from marquee.index.building import build_index
from marquee.index.faiss_index import IndexConfig
from marquee.store.live_items import LiveItem

CHANGE_BUDGET_MS = 50.0
"""For one more on top of a thousand; workers look every 250 ms."""

SEARCH_BUDGET_MS = 0.5
"""The time that a thousand live items may add to a search."""

N_ITEMS = (10_000, 100_000, 1_000_000)
N_LIVE = (0, 1_000, 10_000)
N_ROUNDS = 5
GENRES = [f"genre-{number}" for number in range(1000)]


def make_item_pool(n_items: int) -> ItemPool:
    """Returns the item pool of a bundle whose item tower reads one feature."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((n_items + 1, DIM), dtype=np.float32)
    encoder = FeatureEncoder.fit({"genre": FeatureConfig()}, {"genre": GENRES})
    table = rng.standard_normal((encoder.n_token_rows, DIM), dtype=np.float32)
    no_query = make_query_tower(np.zeros((DIM, 1), np.float32), np.zeros((1, DIM), np.float32))
    contents = make_contents(rng, no_query, vectors, build_index(vectors, IndexConfig()), 1.0, FEW_USERS)
    attributes = pl.DataFrame({"genre": [GENRES[number % len(GENRES)] for number in range(n_items)]})
    contents = replace(
        contents,
        item_tower=item_tower(table),
        item_features=encoder,
        catalog=replace(contents.catalog, attributes=attributes),
    )
    return ItemPool(Bundle.of(contents, created=0))


def item_tower(table: FloatArray) -> bytes:
    """Returns a tower that gives an item the row of its only token, (n_token_rows, DIM)."""
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["rows"]),
        helper.make_node("ReduceSum", ["rows", "axis"], ["item_embedding"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "item_tower",
        [helper.make_tensor_value_info("tokens", TensorProto.INT64, ["batch", 1])],
        [helper.make_tensor_value_info("item_embedding", TensorProto.FLOAT, ["batch", DIM])],
        [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array([1]), "axis")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return bytes(model.SerializeToString())


def live(n: int, first: int = 0) -> dict[str, LiveItem]:
    """Returns n live items."""
    return {
        f"live-{number}": LiveItem(
            item_id=f"live-{number}", attributes={"genre": GENRES[number % len(GENRES)]}
        )
        for number in range(first, first + n)
    }


def cost_ms(work: Callable[[], object]) -> float:
    """Returns the processor time of one call, in ms: the least of several."""
    rounds = []
    for _ in range(N_ROUNDS):
        started = time.process_time()
        work()
        rounds.append(time.process_time() - started)
    return min(rounds) * 1000


def search_ms(item_pool: ItemPool) -> float:
    """Returns the processor time of one query over both segments."""
    query = np.ones((1, DIM), dtype=np.float32)
    allowed = item_pool.allowed(None, 0)
    nothing = [np.zeros(0, dtype=np.int64)]
    return min(cost_ms(lambda: item_pool.search(query, 10, allowed, nothing)) for _ in range(20))


def main() -> int:
    """Prints the tables; returns 1 under --check if a figure is above its budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail above the budgets")
    arguments = parser.parse_args()
    print("ms of processor time for one more live item, by catalog (down) and live items before it (across)")
    print(f"{'':>10}" + "".join(f"{n:>10,}" for n in N_LIVE))
    worst_change, searches = 0.0, {}
    for n_items in N_ITEMS:
        empty = make_item_pool(n_items)
        costs = {}
        for n_live in N_LIVE:
            before = live(n_live)
            item_pool = empty.with_live_items(before)
            after = {**before, **live(1, first=n_live)}
            costs[n_live] = cost_ms(lambda item_pool=item_pool, after=after: item_pool.with_live_items(after))  # type: ignore[misc]
            if n_items == N_ITEMS[0]:
                searches[n_live] = search_ms(item_pool)
        worst_change = max(worst_change, costs[0], costs[1_000])
        print(f"{n_items:>10,}" + "".join(f"{cost:10.2f}" for cost in costs.values()))
    print(f"\nms of a search over {N_ITEMS[0]:,} items, by live items beside them")
    print("".join(f"{n:>10,}" for n in searches))
    print("".join(f"{cost:10.3f}" for cost in searches.values()))
    added = searches[1_000] - searches[0]
    slower = slowness()
    change_ms, search_budget_ms = CHANGE_BUDGET_MS * slower, SEARCH_BUDGET_MS * slower
    print(f"\nbudgets: {change_ms:.1f} ms a change on top of 1,000, got {worst_change:.2f}; ", end="")
    print(f"{search_budget_ms:.2f} ms a search beside 1,000, got {added:.3f}")
    return int(arguments.check and (worst_change > change_ms or added > search_budget_ms))


if __name__ == "__main__":
    sys.exit(main())
