"""Averages of weights against the plain formula, over all rows in every step."""

import pytest
import torch
from torch import Tensor, nn

from marquee.errors import ConfigError
from marquee.nn.averages import WeightAverages
from marquee.nn.optimizers import LazyAdam
from training.config import TrainerConfig

DECAY = 0.8


class Small(nn.Module):
    """A table with sparse gradients, a dense map, and a parameter that has no gradient in odd steps."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(6, 2, padding_idx=0, sparse=True)
        self.dense = nn.Linear(2, 1)
        self.rare = nn.Parameter(torch.zeros(()))

    def loss(self, rows: list[int]) -> Tensor:
        out: Tensor = self.dense(self.table(torch.tensor(rows))).square().sum()
        return out + (self.rare - 1).square() if len(rows) % 2 == 0 else out


BATCHES = [[1, 2], [2, 2, 5], [3, 1], [4], [1, 2, 3, 5], [5]]


def train(
    model: Small, optimizer: LazyAdam, averages: WeightAverages, batches: list[list[int]]
) -> list[dict[str, Tensor]]:
    """Returns the weights after each step."""
    passed = []
    for rows in batches:
        optimizer.zero_grad()
        torch.autograd.backward(model.loss(rows))
        averages.before_step()
        optimizer.step()
        passed.append({name: p.detach().clone() for name, p in model.named_parameters()})
    return passed


@pytest.fixture
def model() -> Small:
    torch.manual_seed(0)
    return Small()


def by_formula(start: dict[str, Tensor], passed: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    averages = start
    for weights in passed:
        averages = {name: DECAY * averages[name] + (1 - DECAY) * weights[name] for name in averages}
    return averages


def test_averages_are_those_of_all_rows_in_every_step(model: Small) -> None:
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    averages = WeightAverages(model, DECAY)
    passed = train(model, LazyAdam(model.parameters(), 0.1), averages, BATCHES)
    for _ in range(2):  # to look twice changes nothing
        for name, expected in by_formula(start, passed).items():
            torch.testing.assert_close(averages.catch_up()[name], expected)


def test_untouched_rows_are_not_visited_in_a_step(model: Small) -> None:
    averages = WeightAverages(model, DECAY)
    train(model, LazyAdam(model.parameters(), 0.1), averages, [[1, 2], [4, 4]])
    assert averages.seen["table.weight"].tolist() == [0, 0, 0, 0, 1, 0]


def test_averages_stand_in_for_the_weights_inside_the_block_only(model: Small) -> None:
    averages = WeightAverages(model, DECAY)
    last = train(model, LazyAdam(model.parameters(), 0.1), averages, BATCHES)[-1]
    expected = {name: average.clone() for name, average in averages.catch_up().items()}
    with averages.in_place():
        assert all(torch.equal(p, expected[name]) for name, p in model.named_parameters())
    assert all(torch.equal(p, last[name]) for name, p in model.named_parameters())
    assert all(torch.equal(average, expected[name]) for name, average in averages.catch_up().items())


def test_loaded_averages_go_on_identically(model: Small) -> None:
    averages, optimizer = WeightAverages(model, DECAY), LazyAdam(model.parameters(), 0.1)
    train(model, optimizer, averages, BATCHES[:3])
    other = WeightAverages(model, DECAY)
    other.load({name: average.clone() for name, average in averages.catch_up().items()}, n_steps=3)
    for rows in BATCHES[3:]:
        optimizer.zero_grad()
        torch.autograd.backward(model.loss(rows))
        averages.before_step()
        other.before_step()
        optimizer.step()
    for name, average in averages.catch_up().items():
        assert torch.equal(other.catch_up()[name], average)


def test_impossible_half_life_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"trainer\.average_half_life_epochs must be 0 or more, got -1"):
        TrainerConfig(average_half_life_epochs=-1.0)
