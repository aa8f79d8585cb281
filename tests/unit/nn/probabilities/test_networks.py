"""Networks, their loss and their calibration, against sums by hand and draws whose truth is known."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from marquee.core.arrays import FloatArray
from marquee.errors import ConfigError, ParityError
from marquee.nn.probabilities import PROBABILITIES, CrossConfig, HeadConfig, LogisticConfig, export
from marquee.nn.probabilities.calibrating import MIN_OUTCOMES, Outcomes, calibrate
from marquee.nn.probabilities.networks import CLIP, CalibratedNetwork, ClickNetwork, outcome_loss


def network(config: HeadConfig | None = None, n_columns: int = 3, n_places: int = 4) -> ClickNetwork:
    """Returns a network with weights that are all different."""
    torch.manual_seed(0)
    built = ClickNetwork(config or CrossConfig(n_layers=2), n_columns, n_places)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.copy_(torch.randn_like(parameter) / 3)
    return built.eval()


def outcomes(logits: Tensor, generator: torch.Generator, seen: float = 1.0) -> Outcomes:
    """Returns exposures whose column 0 is the true logit, and whose conversions have that of column 1."""
    is_clicked = (torch.rand(len(logits), generator=generator) < torch.sigmoid(logits[:, 0])).float()
    converts = torch.rand(len(logits), generator=generator) < seen * torch.sigmoid(logits[:, 1])
    return Outcomes(
        columns=logits,
        place=torch.zeros(len(logits), dtype=torch.int64),
        score=torch.randn(len(logits), generator=generator),
        is_clicked=is_clicked,
        is_converted=is_clicked * converts,
        seen_share=torch.full((len(logits),), seen),
    )


def identity() -> CalibratedNetwork:
    """Returns a head whose logits are its first two columns."""
    plain = ClickNetwork(LogisticConfig(), 2, 1)
    with torch.no_grad():
        plain.output.weight.copy_(torch.eye(2))
    return CalibratedNetwork(plain)


@pytest.mark.parametrize("rank", [0, 2])
def test_cross_layer_multiplies_by_what_came_in(rank: int) -> None:
    built = network(CrossConfig(n_layers=1, rank=rank))
    columns, place = torch.tensor([[0.5, -1.0, 2.0]]), torch.tensor([1])
    first = torch.cat([columns, built.places.weight[place]], dim=1)  # type: ignore[union-attr] # it has places
    crossed = first * built.layers[0](first) + first
    expected = built.output(crossed) + built.place_logits(place)
    torch.testing.assert_close(built(columns, place), expected)


def test_logistic_head_adds_up_columns_and_place() -> None:
    built = network(LogisticConfig())
    columns, place = torch.randn(5, 3), torch.arange(5) % 4
    expected = columns @ built.output.weight.T + built.output.bias + built.place_logits(place)
    torch.testing.assert_close(built(columns, place), expected)


def test_what_training_never_saw_does_not_run_away() -> None:
    built, place = network(), torch.tensor([0])
    built.standardise(torch.randn(100, 3), torch.tensor([0.1, 0.1]))
    far, farther = (built(torch.full((1, 3), size), place) for size in (1e3, 1e9))
    torch.testing.assert_close(far, farther)
    assert CLIP < 1e3


def test_constant_column_stays_finite() -> None:
    built = network()
    built.standardise(torch.ones(10, 3), torch.tensor([0.1, 0.1]))
    assert torch.isfinite(built(torch.tensor([[1.0, 2.0, 1.0]]), torch.tensor([1]))).all()


def test_loss_of_a_click_that_may_still_convert() -> None:
    logits = torch.tensor([[0.3, -0.7], [-1.2, 0.4], [0.1, 0.9]])
    clicked, converted = torch.tensor([1.0, 1.0, 0.0]), torch.tensor([1.0, 0.0, 0.0])
    share = torch.tensor([0.2, 0.6, 1.0])
    p, q = torch.sigmoid(logits).unbind(dim=1)
    clicks = -(math.log(p[0]) + math.log(p[1]) + math.log(1 - p[2])) / 3
    # A conversion that came is one, however early; the click without one waits for four tenths.
    conversions = -(math.log(q[0]) + math.log(1 - 0.6 * q[1])) / 3
    assert float(outcome_loss(logits, clicked, converted, share)) == pytest.approx(
        clicks + conversions, abs=1e-6
    )


def test_weights_are_those_of_the_two_losses() -> None:
    known = (torch.tensor([[0.3, -1.0], [2.0, 0.5]]), torch.ones(2), torch.tensor([1.0, 0.0]), torch.ones(2))
    click, conversion = (float(outcome_loss(*known, weights)) for weights in ((1.0, 0.0), (0.0, 1.0)))
    assert float(outcome_loss(*known)) == pytest.approx(click + conversion)
    assert float(outcome_loss(*known, (0.5, 3.0))) == pytest.approx(0.5 * click + 3.0 * conversion)


def test_loss_and_its_gradient_are_finite_at_the_ends() -> None:
    logits = torch.tensor([[80.0, 90.0], [-80.0, -90.0]], requires_grad=True)
    loss = outcome_loss(logits, torch.ones(2), torch.zeros(2), torch.tensor([1.0, 0.0]))
    loss.backward()  # type: ignore[no-untyped-call] # torch's own
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()  # type: ignore[arg-type] # it has one


def test_calibration_undoes_a_wrong_slope_and_shift() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(40_000, 2, generator=generator) - 1
    seen = outcomes(truth, generator, seen=0.5)
    head = identity()
    with torch.no_grad():
        head.network.output.weight.mul_(2)
        head.network.output.bias.add_(0.7)
    calibrate(head, seen, uses_score=True)
    np.testing.assert_allclose(head.slopes, [0.5, 0.5], atol=0.06)
    said = head(seen.columns, seen.place, seen.score).detach()
    # Half of the conversions are still to come: what is said is the probability that they ever do.
    np.testing.assert_allclose(said.mean(dim=0), torch.sigmoid(truth).mean(dim=0), rtol=0.06)
    assert abs(float(head.score_slopes[0])) < 0.05  # the score says nothing here


def test_score_of_towers_that_know_the_exposures_is_left_out() -> None:
    generator = torch.Generator().manual_seed(0)
    seen = outcomes(torch.randn(5_000, 2, generator=generator), generator)
    told = Outcomes(**{**seen.__dict__, "score": seen.is_clicked * 3})
    by_score, without = identity(), identity()
    calibrate(by_score, told, uses_score=True)
    calibrate(without, told, uses_score=False)
    assert float(by_score.score_slopes[0]) > 1
    assert without.score_slopes.tolist() == [0.0, 0.0]


def test_too_few_outcomes_calibrate_nothing() -> None:
    few = Outcomes(
        columns=torch.randn(200, 2),
        place=torch.zeros(200, dtype=torch.int64),
        score=torch.zeros(200),
        is_clicked=(torch.arange(200) < MIN_OUTCOMES - 1).float(),
        is_converted=torch.zeros(200),
        seen_share=torch.ones(200),
    )
    head = identity()
    calibrate(head, few, uses_score=True)
    assert head.slopes.tolist() == [1.0, 1.0]
    assert head.shifts.tolist() == [0.0, 0.0]


def test_exported_network_says_the_same() -> None:
    head = CalibratedNetwork(network())
    head.shifts.fill_(0.3)
    head.score_slopes[0] = 0.5
    rng = np.random.default_rng(0)
    given = (
        rng.standard_normal((9, 3)).astype(np.float32),
        rng.integers(0, 4, 9),
        rng.standard_normal(9).astype(np.float32),
    )
    _, worst = export.export_network(head, *given)
    assert worst <= export.TOLERANCE


@pytest.mark.parametrize("got", [np.full((3, 2), 0.5 + 1e-4), np.full((3, 2), np.nan), np.full((3, 1), 0.5)])
def test_graph_that_says_otherwise_is_refused(got: FloatArray) -> None:
    with pytest.raises(ParityError, match="the exported click head"):
        export.require_equal(got, np.full((3, 2), 0.5))


@pytest.mark.parametrize(
    ("config", "values", "message"),
    [
        (CrossConfig, {"epochs": 0}, "probabilities.epochs must be 1 or more"),
        (CrossConfig, {"rank": -1}, "probabilities.rank must be 0 or more"),
        (CrossConfig, {"learning_rate": float("nan")}, "probabilities.learning_rate must be more than 0"),
        (LogisticConfig, {"weight_decay": -0.1}, "probabilities.weight_decay must be 0 or more"),
        (CrossConfig, {"n_layers": 0}, "probabilities.n_layers must be 1 or more"),
    ],
)
def test_impossible_settings_are_refused(
    config: type[HeadConfig], values: dict[str, float], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**values)  # type: ignore[arg-type] # numbers of any type


def test_choices_stand_in_the_menu() -> None:
    assert set(PROBABILITIES) == {"cross", "logistic", "none"}
    assert not issubclass(PROBABILITIES["none"], HeadConfig)
