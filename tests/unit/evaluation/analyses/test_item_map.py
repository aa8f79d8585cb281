import numpy as np
import pytest
from sklearn.decomposition import PCA

from marquee.errors import ShapeError
from marquee.evaluation.analyses.item_map import (
    N_POINTS,
    OTHER,
    CatalogView,
    map_items,
    most_telling,
    neighbourhoods,
    principal_components,
)
from marquee.evaluation.analyses.slices import by_popularity

N_ITEMS = 40


def _view(n_items: int = N_ITEMS, dim: int = 5, seed: int = 0) -> CatalogView:
    """Items of two kinds that lie in two opposite corners; the last two were never trained on."""
    generator = np.random.default_rng(seed)
    items = np.arange(n_items + 1)
    vectors = generator.normal(size=(n_items + 1, dim)).astype(np.float32) * 0.1
    vectors[:, 0] += np.where(items % 2 == 0, 5, -5)
    counts = np.where(items > 0, n_items - items + 3, 0)
    counts[-2:] = 0
    members = {"even": (items > 0) & (items % 2 == 0), "odd": items % 2 == 1}
    return CatalogView([f"item {item}" for item in items], counts, vectors, "parity", members)


@pytest.mark.parametrize("seed", range(5))
def test_components_are_those_of_a_reference_library(seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(60, 7)).astype(np.float32)
    vectors[:, 2] *= 4
    along, explained = principal_components(vectors)
    reference = PCA(n_components=2, svd_solver="full").fit(vectors)
    assert explained == pytest.approx(reference.explained_variance_ratio_.sum(), rel=1e-5)
    expected = reference.transform(vectors)
    signs = np.sign((along * expected).sum(axis=0))
    np.testing.assert_allclose(along, expected * signs, atol=1e-4)


def test_components_of_equal_vectors_are_zero() -> None:
    along, explained = principal_components(np.ones((4, 3), dtype=np.float32))
    assert (along.tolist(), explained) == ([[0, 0]] * 4, 0)


def test_the_map_shows_trained_items_with_their_value_and_the_popular_ones_first() -> None:
    item_map = map_items(_view(), np.random.default_rng(0))
    assert item_map.n_items == len(item_map.points) == N_ITEMS - 2
    assert [point.label for point in item_map.points if point.is_popular] == [
        f"item {item}" for item in range(1, 11)
    ]
    for point in item_map.points:
        assert point.value == ("even" if int(point.label.split()[1]) % 2 == 0 else "odd")
    assert len({point.x > 0 for point in item_map.points if point.value == "even"}) == 1


def test_the_map_of_a_large_catalog_holds_no_more_points_than_a_page_does() -> None:
    item_map = map_items(_view(n_items=2_000), np.random.default_rng(0))
    labels = {point.label for point in item_map.points}
    assert len(labels) == len(item_map.points) == N_POINTS


def test_neighbours_agree_more_than_strangers_where_the_attribute_is_learned() -> None:
    item_map = map_items(_view(), np.random.default_rng(0))
    assert item_map.agreement == 1
    assert 0.3 < item_map.chance < 0.7


def test_rare_values_share_one_colour() -> None:
    item_map = map_items(_view(), np.random.default_rng(0), n_values=1)
    assert {point.value for point in item_map.points} == {"even", OTHER}


def test_neighbours_are_the_nearest_by_cosine() -> None:
    view = _view()
    found = neighbourhoods(view, by_popularity(view.counts), np.random.default_rng(0))
    assert [near.popularity for near in found] == ["head"] * 2 + ["middle"] * 2 + ["tail"] * 2
    unit = view.vectors / np.linalg.norm(view.vectors, axis=1, keepdims=True)
    for near in found:
        item = int(near.label.split()[1])
        cosines = {
            f"item {other}": float(unit[other] @ unit[item])
            for other in range(1, N_ITEMS - 1)
            if other != item
        }
        best = sorted(cosines, key=lambda label: -cosines[label])[:5]
        assert [other.label for other in near.neighbours] == best
        assert [other.cosine for other in near.neighbours] == pytest.approx(
            [cosines[label] for label in best], abs=1e-3
        )
        assert near.n_events == view.counts[item]


def test_a_view_with_rows_missing_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"one row per item and one for padding, got \[3, 4\] rows"):
        CatalogView(["", "a", "b"], np.zeros(3, np.int64), np.zeros((4, 2), np.float32), "none", {})


def test_the_column_that_colours_most_items_is_chosen() -> None:
    items = np.arange(41)
    rare = {f"tag {tag}": items == tag for tag in range(1, 41)}
    common = {f"category {rest}": (items > 0) & (items % 7 == rest) for rest in range(7)}
    two = {"ad": items > 20, "content": items <= 20}
    nothing = ("popularity", {"head": items > 0})
    assert most_telling({"tags": rare, "category": common, "kind": two}, nothing) == ("category", common)
    assert most_telling({"kind": two}, nothing) == nothing
