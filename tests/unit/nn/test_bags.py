"""Weighted sums of rows against torch's own, forwards and backwards."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from marquee.nn.bags import distinct_rows, sum_rows

N_ROWS, DIM = 7, 3


def plain(table: Tensor, index: Tensor, weight: Tensor, sizes: Tensor) -> Tensor:
    """Returns the sums one entry at a time."""
    bag = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
    return torch.zeros(len(sizes), DIM).index_add(0, bag, table[index] * weight[:, None])


def random_inputs(sizes: list[int], seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Returns table, index, weight, sizes, and a gradient of the sums."""
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(N_ROWS, DIM, generator=generator)
    index = torch.randint(0, N_ROWS, (sum(sizes),), generator=generator)
    weight = torch.randn(sum(sizes), generator=generator)
    return table, index, weight, torch.tensor(sizes), torch.randn(len(sizes), DIM, generator=generator)


@settings(deadline=None, max_examples=40)  # a machine may stand still for a while
@given(sizes=st.lists(st.integers(0, 5), min_size=1, max_size=6), seed=st.integers(0, 1000))
def test_sums_and_gradients_are_what_one_entry_at_a_time_gives(sizes: list[int], seed: int) -> None:
    table, index, weight, n_entries, gradient = random_inputs(sizes, seed)
    both = (table.requires_grad_(), weight.requires_grad_())
    got = sum_rows(table, index, weight, n_entries)
    expected = plain(table, index, weight, n_entries)
    torch.testing.assert_close(got, expected)
    pairs = zip(
        torch.autograd.grad(got, both, gradient), torch.autograd.grad(expected, both, gradient), strict=True
    )
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs)


def test_sparse_gradient_holds_each_row_once_in_order_and_no_padding() -> None:
    table = torch.ones(N_ROWS, DIM, requires_grad=True)
    index, sizes = torch.tensor([5, 0, 2, 5, 2, 2]), torch.tensor([2, 4])
    summed = sum_rows(table, index, torch.ones(6), sizes, is_sparse=True)
    (gradient,) = torch.autograd.grad(summed.sum(), table)
    assert gradient.is_sparse
    assert gradient.is_coalesced()
    assert gradient.indices()[0].tolist() == [2, 5]
    assert gradient.values().tolist() == [[3.0] * DIM, [2.0] * DIM]


@pytest.mark.parametrize("is_sparse", [True, False])
def test_entries_may_be_none_at_all(is_sparse: bool) -> None:
    table = torch.ones(N_ROWS, DIM, requires_grad=True)
    nothing = torch.zeros(0, dtype=torch.int64)
    summed = sum_rows(table, nothing, torch.zeros(0), torch.tensor([0, 0]), is_sparse=is_sparse)
    assert torch.equal(summed, torch.zeros(2, DIM))
    (gradient,) = torch.autograd.grad(summed.sum(), table)
    assert not gradient.to_dense().any()


def test_torch_agrees_where_it_has_a_gradient_of_its_own() -> None:
    table, index, weight, sizes, gradient = random_inputs([2, 0, 3, 1], seed=4)
    both = (table.requires_grad_(), weight.requires_grad_())
    ours = sum_rows(table, index, weight, sizes)
    theirs = F.embedding_bag(index, table, sizes.cumsum(0) - sizes, mode="sum", per_sample_weights=weight)
    torch.testing.assert_close(
        torch.autograd.grad(ours, both, gradient), torch.autograd.grad(theirs, both, gradient)
    )


@pytest.mark.parametrize("n_rows", [9, 10_000], ids=["ticked_off", "sorted"])
@pytest.mark.parametrize("index", [[3, 3, 8, 0, 3, 7], [0], [5, 4, 3, 2, 1, 0]])
def test_distinct_rows_are_those_of_torch(index: list[int], n_rows: int) -> None:
    rows, place = distinct_rows(torch.tensor(index), n_rows)
    expected = torch.unique(torch.tensor(index), return_inverse=True)
    assert torch.equal(rows, expected[0])
    assert torch.equal(place, expected[1])


def test_nothing_is_distinct_in_nothing() -> None:
    rows, place = distinct_rows(torch.zeros(0, dtype=torch.int64), 5)
    assert len(rows) == len(place) == 0
