"""Lazy optimizers against torch's own, and that they leave alone what a step did not touch."""

from collections.abc import Callable
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from marquee.errors import ConfigError
from marquee.nn.optimizers import (
    LazyAdam,
    LazyAdamConfig,
    OptimizerConfig,
    RowwiseAdagrad,
    RowwiseAdagradConfig,
)

Build = Callable[[list[Tensor]], Optimizer]
OPTIMIZERS: dict[str, Build] = {
    "lazy_adam": lambda parameters: LazyAdam(parameters, 0.1, weight_decay=0.2),
    "rowwise_adagrad": lambda parameters: RowwiseAdagrad(parameters, 0.1, weight_decay=0.2),
}
for_both = pytest.mark.parametrize("build", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())


def dense_parameter(seed: int = 0) -> nn.Parameter:
    return nn.Parameter(torch.randn(4, 3, generator=torch.Generator().manual_seed(seed)))


def small_table(seed: int = 0) -> nn.Embedding:
    table = nn.Embedding(6, 3, sparse=True)
    with torch.no_grad():
        table.weight.copy_(torch.randn(6, 3, generator=torch.Generator().manual_seed(seed)))
    return table


def step_dense(parameter: nn.Parameter, optimizer: Optimizer, step: int) -> None:
    """Steps on a gradient that depends on the step and on the parameter."""
    optimizer.zero_grad()
    target = torch.randn(4, 3, generator=torch.Generator().manual_seed(100 + step))
    torch.autograd.backward(((parameter - target) ** 2).sum())
    optimizer.step()


def step_rows(table: nn.Embedding, optimizer: Optimizer, rows: list[int]) -> None:
    """Steps on the given rows, a row that is named twice having twice the gradient."""
    optimizer.zero_grad()
    ((table(torch.tensor(rows)) - 1.0) ** 3).sum().backward()
    optimizer.step()


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_lazy_adam_equals_adam_on_dense_gradients(decay: float) -> None:
    ours, theirs = dense_parameter(), dense_parameter()
    lazy = LazyAdam([ours], 0.05, (0.8, 0.95), 1e-6, decay)
    adam = torch.optim.AdamW([theirs], lr=0.05, betas=(0.8, 0.95), eps=1e-6, weight_decay=decay)
    for step in range(20):
        step_dense(ours, lazy, step)
        step_dense(theirs, adam, step)
        torch.testing.assert_close(ours, theirs)


def test_lazy_adam_equals_sparse_adam_on_rows() -> None:
    ours, theirs = small_table(), small_table()
    lazy = LazyAdam(ours.parameters(), 0.05, (0.8, 0.95), 1e-12)  # torch adds eps before the bias correction
    adam = torch.optim.SparseAdam(theirs.parameters(), lr=0.05, betas=(0.8, 0.95), eps=1e-12)
    for rows in ([0, 2], [2, 2, 5], [1], [0, 1, 2, 3, 4, 5], [5, 0, 5]):
        step_rows(ours, lazy, rows)
        step_rows(theirs, adam, rows)
        torch.testing.assert_close(ours.weight, theirs.weight)


@pytest.mark.parametrize("n_touched", [10, 1500, 2900], ids=["few", "blocks", "most"])
def test_lazy_adam_is_the_same_however_many_rows_a_step_touches(n_touched: int) -> None:
    ours, theirs = (nn.Embedding(3000, 2, sparse=True) for _ in range(2))
    nn.init.uniform_(ours.weight, -1.0, 0.5)  # far from where the gradient is 0
    theirs.load_state_dict(ours.state_dict())
    lazy = LazyAdam(ours.parameters(), 0.05, (0.8, 0.95), 1e-12)
    adam = torch.optim.SparseAdam(theirs.parameters(), lr=0.05, betas=(0.8, 0.95), eps=1e-12)
    for seed in range(3):
        rows = torch.randperm(3000, generator=torch.Generator().manual_seed(seed))[:n_touched].tolist()
        step_rows(ours, lazy, rows)
        step_rows(theirs, adam, rows)
    torch.testing.assert_close(ours.weight, theirs.weight)


def test_gradient_of_rows_in_order_is_taken_as_it_is() -> None:
    in_order, doubled = small_table(), small_table()
    step_rows(in_order, LazyAdam(in_order.parameters(), 0.05), [1, 4])
    step_rows(doubled, LazyAdam(doubled.parameters(), 0.05), [4, 1])
    assert torch.equal(in_order.weight, doubled.weight)


def adagrad_by_hand(
    table: np.ndarray, batches: list[list[int]], rate: float, eps: float, decay: float
) -> np.ndarray:
    """Returns the table after row-wise Adagrad on the gradient of `step_rows`, one row at a time."""
    table, sums = table.astype(np.float64).copy(), np.zeros(len(table))
    for rows in batches:
        gradients = {row: rows.count(row) * 3 * (table[row] - 1.0) ** 2 for row in set(rows)}
        for row, gradient in gradients.items():
            sums[row] += (gradient**2).sum() / len(gradient)
            table[row] = table[row] - rate * decay * table[row]
            table[row] -= rate * gradient / (np.sqrt(sums[row]) + eps)
    return table


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_rowwise_adagrad_is_what_loops_give(decay: float) -> None:
    table = small_table()
    batches = [[0, 2], [2, 2, 5], [1], [0, 1, 2, 3, 4, 5], [5, 0, 5]]
    expected = adagrad_by_hand(table.weight.detach().numpy(), batches, 0.05, 1e-4, decay)
    optimizer = RowwiseAdagrad(table.parameters(), 0.05, 1e-4, decay)
    for rows in batches:
        step_rows(table, optimizer, rows)
    np.testing.assert_allclose(table.weight.detach().numpy(), expected, rtol=1e-5, atol=1e-6)


def test_rowwise_adagrad_is_the_same_on_dense_gradients() -> None:
    by_row, whole = small_table(), nn.Embedding(6, 3)
    whole.load_state_dict(by_row.state_dict())
    every_row = list(range(6))
    optimizers = [RowwiseAdagrad(table.parameters(), 0.05) for table in (by_row, whole)]
    for _ in range(3):
        step_rows(by_row, optimizers[0], every_row)
        step_rows(whole, optimizers[1], every_row)
    torch.testing.assert_close(by_row.weight, whole.weight)


def test_rowwise_adagrad_takes_each_element_of_a_vector_as_a_row() -> None:
    vector = nn.Parameter(torch.tensor([1.0, -2.0]))
    vector.grad = torch.tensor([10.0, -0.1])
    RowwiseAdagrad([vector], 0.5).step()
    assert vector.tolist() == pytest.approx(
        [1 - 0.5, -2 + 0.5]
    )  # the first step is the sign, whatever the size


@for_both
def test_untouched_rows_and_their_state_do_not_change(build: Build) -> None:
    table = small_table()
    optimizer = build(list(table.parameters()))
    step_rows(table, optimizer, [0, 1, 2, 3, 4, 5])
    before = table.weight.detach().clone()
    state = {name: v.clone() for name, v in optimizer.state[table.weight].items() if torch.is_tensor(v)}
    step_rows(table, optimizer, [1, 4])
    untouched = [0, 2, 3, 5]
    assert torch.equal(table.weight[untouched], before[untouched])
    assert not torch.isclose(table.weight[[1, 4]], before[[1, 4]]).any()
    assert state
    for name, values in state.items():
        assert torch.equal(optimizer.state[table.weight][name][untouched], values[untouched])


@for_both
def test_weight_decay_shrinks_touched_rows_only(build: Build) -> None:
    table = small_table()
    optimizer = build(list(table.parameters()))
    before = table.weight.detach().clone()
    (table(torch.tensor([3])) * 0.0).sum().backward()
    optimizer.step()
    torch.testing.assert_close(table.weight[3], before[3] * (1 - 0.1 * 0.2))
    assert torch.equal(table.weight[:3], before[:3])


@for_both
def test_gradient_without_any_row_changes_nothing(build: Build) -> None:
    table = nn.Embedding(3, 2, padding_idx=0, sparse=True)
    before = table.weight.detach().clone()
    table(torch.tensor([0, 0])).sum().backward()
    build(list(table.parameters())).step()
    assert torch.equal(table.weight, before)


@for_both
def test_parameter_without_gradient_is_left_alone(build: Build) -> None:
    used, unused = dense_parameter(1), dense_parameter(2)
    before = unused.detach().clone()
    step_dense(used, build([used, unused]), 0)
    assert torch.equal(unused, before)


@for_both
def test_saved_state_continues_identically(build: Build) -> None:
    table, dense = small_table(), dense_parameter()
    optimizer = build([table.weight, dense])
    for step in range(3):
        step_rows(table, optimizer, [step, 5])
        step_dense(dense, optimizer, step)
    other_table, other_dense = small_table(), nn.Parameter(dense.detach().clone())
    other_table.load_state_dict(table.state_dict())
    other = build([other_table.weight, other_dense])
    other.load_state_dict(deepcopy(optimizer.state_dict()))  # torch would share the tensors
    for rows in ([0, 1], [5], [2, 2]):
        step_rows(table, optimizer, rows)
        step_rows(other_table, other, rows)
        step_dense(dense, optimizer, 7)
        step_dense(other_dense, other, 7)
    assert torch.equal(table.weight, other_table.weight)
    assert torch.equal(dense, other_dense)


@for_both
def test_step_returns_the_loss_of_its_closure(build: Build) -> None:
    parameter = dense_parameter()
    before = parameter.detach().clone()

    def closure() -> float:
        loss = (parameter**2).sum()
        torch.autograd.backward(loss)
        return loss.item()

    got = build([parameter]).step(closure)
    assert got == pytest.approx(float((before**2).sum()))
    assert not torch.equal(parameter, before)


def test_configs_build_the_optimizer_with_their_knobs() -> None:
    adam = LazyAdamConfig(learning_rate=0.3, weight_decay=0.1, beta1=0.7, beta2=0.8, eps=1e-3).build(
        [dense_parameter()]
    )
    adagrad = RowwiseAdagradConfig(learning_rate=0.3, weight_decay=0.1, eps=1e-3).build([dense_parameter()])
    assert isinstance(adam, LazyAdam)
    assert adam.defaults == {"lr": 0.3, "betas": (0.7, 0.8), "eps": 1e-3, "weight_decay": 0.1}
    assert isinstance(adagrad, RowwiseAdagrad)
    assert adagrad.defaults == {"lr": 0.3, "eps": 1e-3, "weight_decay": 0.1}


def test_rate_stays_without_cosine() -> None:
    config = LazyAdamConfig(cosine=False, warmup_fraction=0.2)
    assert [config.rate(p) for p in (0.0, 0.1, 0.2, 0.9, 1.0)] == pytest.approx([0, 0.5, 1, 1, 1])


def test_rate_falls_to_zero_along_half_a_cosine() -> None:
    config = RowwiseAdagradConfig()
    assert [config.rate(p) for p in (0.0, 1 / 3, 0.5, 1.0, 1.5)] == pytest.approx([1, 0.75, 0.5, 0, 0])


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ((0.0, 0.0, 0.0), "learning_rate"),
        ((float("nan"), 0.0, 0.0), "learning_rate"),
        ((0.1, -0.1, 0.0), "weight_decay"),
        ((0.1, 0.0, 1.0), "warmup_fraction"),
        ((0.1, 0.0, -0.1), "warmup_fraction"),
    ],
)
def test_impossible_knob_is_named(values: tuple[float, float, float], key: str) -> None:
    rate, decay, warmup = values
    with pytest.raises(ConfigError, match=rf"optimizer\.{key} must be .*, got "):
        LazyAdamConfig(learning_rate=rate, weight_decay=decay, warmup_fraction=warmup)


def test_base_config_builds_nothing() -> None:
    with pytest.raises(NotImplementedError, match="OptimizerConfig must define build"):
        OptimizerConfig().build([])


def test_whole_parameters_that_took_other_numbers_of_steps_are_those_of_adam() -> None:
    """Parameters are stepped in one call, each by its own count."""
    ours, theirs = ([nn.Parameter(torch.ones(2) * size) for size in (1.0, 2.0)] for _ in range(2))
    optimizers = LazyAdam(ours, 0.1, weight_decay=0.2), torch.optim.AdamW(theirs, 0.1, weight_decay=0.2)
    for with_second in (False, True, True):
        for parameters, optimizer in zip((ours, theirs), optimizers, strict=True):
            first, second = parameters
            first.grad = torch.tensor([0.3, -0.5])
            second.grad = torch.tensor([-0.2, 0.7]) if with_second else None
            optimizer.step()
    for own, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, expected)
