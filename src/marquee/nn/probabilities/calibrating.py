"""Fits the calibration of a head on exposures that came after those of its training."""

from dataclasses import dataclass

import torch
from torch import Tensor

from marquee.nn.probabilities.networks import N_OUTCOMES, CalibratedNetwork, outcome_loss

MIN_OUTCOMES = 30
"""Fewer clicks, or conversions, and their logits are shifted or left: a slope of so few is chance."""

RIDGE = 1e-4
_STEPS = 50


@dataclass(frozen=True)
class Outcomes:
    """Exposures as a head reads them, with what came of each; fields are (n, …) tensors.

    Attributes:
        columns: (n, n_columns) float32.
        place: int64.
        score: Of the towers, float32.
        is_clicked: 0 or 1, float32.
        is_converted: As far as is known, 0 or 1, float32.
        seen_share: Share of the conversions that would have come by now, float32.
    """

    columns: Tensor
    place: Tensor
    score: Tensor
    is_clicked: Tensor
    is_converted: Tensor
    seen_share: Tensor

    def rows(self, rows: Tensor) -> "Outcomes":
        """Returns some of the exposures."""
        return Outcomes(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def to(self, device: torch.device) -> "Outcomes":
        """Returns the same exposures on a device."""
        return Outcomes(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))

    def __len__(self) -> int:
        return len(self.place)


def calibrate(head: CalibratedNetwork, later: Outcomes, *, uses_score: bool) -> None:
    """Fits slopes and shifts, in place; what is too rare to fit stays as it is.

    Args:
        head: Trained.
        later: Exposures that came after those of training.
        uses_score: Whether the towers have not learned from these exposures, so that their score is honest.
    """
    n_clicks, n_conversions = int(later.is_clicked.sum()), int(later.is_converted.sum())
    with torch.no_grad():
        logits = head.corrected(later.columns, later.place).double()
        head.score_mean.fill_(float(later.score.mean()))
        head.score_scale.fill_(float(later.score.std().clamp_min(1e-6)))
        score = ((later.score - head.score_mean) / head.score_scale).double()
    is_fitted = [n >= MIN_OUTCOMES for n in (n_clicks, n_conversions)]
    free = torch.tensor(
        [is_fitted, [is_fitted[0] and uses_score, False], is_fitted], dtype=torch.float64
    )  # slopes, score slopes, shifts
    start = torch.tensor([[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    moved = torch.zeros(3, N_OUTCOMES, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([moved], max_iter=_STEPS, line_search_fn="strong_wolfe")
    known = later.is_clicked.double(), later.is_converted.double(), later.seen_share.double()

    def loss() -> Tensor:
        optimizer.zero_grad()
        slopes, score_slopes, shifts = start + moved * free
        value = outcome_loss(slopes * logits + score_slopes * score[:, None] + shifts, *known)
        value = value + RIDGE * moved.square().sum()
        value.backward()  # type: ignore[no-untyped-call] # torch's own
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call] # torch's own
    for buffer, fitted in zip(
        (head.slopes, head.score_slopes, head.shifts), (start + moved * free).detach().float(), strict=True
    ):
        buffer.copy_(fitted)
