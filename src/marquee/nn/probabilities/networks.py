"""The networks of a head: logistic, or crossed; one bottom for clicks and conversions, one output for each.

A network reads what is known of an exposure and its place. The score of the towers joins in the calibration
alone: the towers have learned from the clicks of training, so that their score says too much there.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from marquee.errors import ConfigError

N_OUTCOMES = 2
"""Click, and conversion of a click."""

CLIP = 4.0
"""Standard deviations beyond which a column says no more: what training never saw must not run away."""


@dataclass(kw_only=True)
class ProbabilitiesConfig:
    """No head: the bundle gives no probabilities. The choices that give some inherit from it."""


@dataclass(kw_only=True)
class HeadConfig(ProbabilitiesConfig):
    """How a head is trained; see its subclasses for which.

    Attributes:
        epochs: Passes over the exposures of training, at least.
        steps: Batches that a network sees at least: few exposures are passed more often.
        batch_size: Exposures per step.
        learning_rate: Of the first step; it falls to 0 in a straight line.
        weight_decay: Decoupled decay per step, times the learning rate.
        negatives_per_click: Exposures without a click that each pass keeps per click, at most; what is left
            out is corrected for.
        window: Latest exposures of a user that a head looks at.
        max_exposures: Latest exposures that are described, those of validation and test included: the columns
            of each take 250 bytes of memory.
    """

    epochs: int = 3
    steps: int = 400
    batch_size: int = 1024
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    negatives_per_click: float = 20.0
    window: int = 100
    max_exposures: int = 4_000_000

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError if a number is out of range."""
        for name in ("epochs", "steps", "batch_size", "window", "max_exposures"):
            if getattr(self, name) < 1:
                raise ConfigError(f"probabilities.{name} must be 1 or more, got {getattr(self, name)}")
        # Not `<`: a NaN must fail, and compares false with everything.
        if not self.weight_decay >= 0:
            raise ConfigError(f"probabilities.weight_decay must be 0 or more, got {self.weight_decay}")
        for name in ("learning_rate", "negatives_per_click"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"probabilities.{name} must be more than 0, got {getattr(self, name)}")


@dataclass(kw_only=True)
class LogisticConfig(HeadConfig):
    """A logistic regression on what is known and the place: the floor that a network must beat."""

    epochs: int = 5
    learning_rate: float = 5e-3


@dataclass(kw_only=True)
class CrossConfig(HeadConfig):
    """A cross network: products of what is known, learned.

    Attributes:
        n_layers: Cross layers.
        rank: Of the matrix of a cross layer; 0 for a full one.
        place_dim: Length of a place's vector in the cross layers.
    """

    n_layers: int = 1
    rank: int = 8
    place_dim: int = 4

    def validate(self) -> None:
        """Raises ConfigError if a number is out of range."""
        super().validate()
        for name, least in (("n_layers", 1), ("rank", 0), ("place_dim", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"probabilities.{name} must be {least} or more, got {getattr(self, name)}")


class ClickNetwork(nn.Module):
    """Says how likely a click is, and a conversion of a click.

    Args:
        config: See `HeadConfig`.
        n_columns: Columns that describe an exposure.
        n_places: Places, the unknown one included.

    Source:
        Wang et al. 2021, WWW, "DCN V2", equations 1 and 2 (cross layers, full and of low rank); Ma et al.
        2018, SIGIR, "Entire Space Multi-Task Model", figure 1 (one bottom). Differs from them: no deep part
        beside the cross layers, and the conversion is that of a click, learned on clicks alone.
    """

    means: Tensor
    scales: Tensor

    def __init__(self, config: HeadConfig, n_columns: int, n_places: int) -> None:
        super().__init__()
        cross = config if isinstance(config, CrossConfig) else None
        self.place_dim = cross.place_dim if cross else 0
        width = n_columns + self.place_dim
        self.places = nn.Embedding(n_places, self.place_dim) if self.place_dim else None
        self.place_logits = nn.Embedding(n_places, N_OUTCOMES)
        n_layers, rank = (cross.n_layers, cross.rank) if cross else (0, 0)
        self.layers = nn.ModuleList(_cross_layer(width, rank) for _ in range(n_layers))
        self.output = nn.Linear(width, N_OUTCOMES)
        self.register_buffer("means", torch.zeros(n_columns))
        self.register_buffer("scales", torch.ones(n_columns))
        self._start()

    def _start(self) -> None:
        """Sets the first weights: cross layers near nothing, outputs at nothing."""
        for parameter in self.layers.parameters():
            if parameter.dim() == 1:
                nn.init.zeros_(parameter)
            else:
                # A layer multiplies by the input again: at full size products would drown what is known.
                nn.init.normal_(parameter, std=0.1 * parameter.shape[1] ** -0.5)
        for linear in (self.output, self.place_logits):
            nn.init.zeros_(linear.weight)
        nn.init.zeros_(self.output.bias)
        if self.places is not None:
            nn.init.normal_(self.places.weight, std=0.1)

    def standardise(self, columns: Tensor, rates: Tensor) -> None:
        """Sets the scale of the columns and the first outputs, in place.

        Args:
            columns: Of training, (n, n_columns) float32.
            rates: Share of clicks, and of conversions per click, (2,); in (0, 1).
        """
        scales = columns.std(dim=0)
        # A column that never changes says nothing, and would be divided by nearly 0 where it once does.
        self.scales = torch.where(scales > 1e-4, scales, torch.ones_like(scales))
        self.means = columns.mean(dim=0)
        with torch.no_grad():
            self.output.bias.copy_(torch.logit(rates))

    def forward(self, columns: Tensor, place: Tensor) -> Tensor:
        """Returns the logits of click and conversion, (n, 2) float32.

        Args:
            columns: (n, n_columns) float32.
            place: Numbers of places, (n,) int64.
        """
        first = ((columns - self.means) / self.scales).clamp(-CLIP, CLIP)
        if self.places is not None:
            first = torch.cat([first, self.places(place)], dim=1)  # (n, width)
        crossed = first
        for layer in self.layers:
            crossed = first * layer(crossed) + crossed
        logits: Tensor = self.output(crossed) + self.place_logits(place)
        return logits


def _cross_layer(width: int, rank: int) -> nn.Module:
    """Returns the linear map of a cross layer; of rank 0 a full one."""
    if not rank:
        return nn.Linear(width, width)
    return nn.Sequential(nn.Linear(width, rank, bias=False), nn.Linear(rank, width))


class CalibratedNetwork(nn.Module):
    """A network with what makes its logits probabilities: the correction for sampling, and the calibration.

    Args:
        network: Trained.

    Attributes:
        correction: Added to the logits, (2,): what sampling of negatives took away.
        slopes: Of the corrected logits, (2,).
        score_slopes: Of the standardised score of the towers, (2,).
        shifts: (2,).
        score_mean: Of the scores that the calibration was fitted on, (1,).
        score_scale: Their standard deviation, (1,).

    Source:
        King and Zeng 2001, Political Analysis 9(2), section 4.1 (prior correction); He et al. 2014, ADKDD,
        section 6.3; Platt 1999. Differs from Platt: the score of the towers is a second input.
    """

    correction: Tensor
    slopes: Tensor
    score_slopes: Tensor
    shifts: Tensor
    score_mean: Tensor
    score_scale: Tensor

    def __init__(self, network: ClickNetwork) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("correction", torch.zeros(N_OUTCOMES))
        self.register_buffer("slopes", torch.ones(N_OUTCOMES))
        self.register_buffer("score_slopes", torch.zeros(N_OUTCOMES))
        self.register_buffer("shifts", torch.zeros(N_OUTCOMES))
        self.register_buffer("score_mean", torch.zeros(1))
        self.register_buffer("score_scale", torch.ones(1))

    def corrected(self, columns: Tensor, place: Tensor) -> Tensor:
        """Returns the logits without calibration, (n, 2)."""
        logits: Tensor = self.network(columns, place) + self.correction
        return logits

    def forward(self, columns: Tensor, place: Tensor, score: Tensor) -> Tensor:
        """Returns the probability of a click, and of a conversion after one, (n, 2) float32.

        Args:
            columns: (n, n_columns) float32.
            place: (n,) int64.
            score: Of the towers, (n,) float32.
        """
        standardised = (score[:, None] - self.score_mean) / self.score_scale  # (n, 1)
        logits = self.slopes * self.corrected(columns, place) + self.score_slopes * standardised
        return torch.sigmoid(logits + self.shifts)


def outcome_loss(
    logits: Tensor,
    is_clicked: Tensor,
    is_converted: Tensor,
    seen_share: Tensor,
    weights: tuple[float, float] = (1.0, 1.0),
) -> Tensor:
    """Returns the mean log loss of clicks plus that of conversions per click, scalar.

    A click without a conversion may still lead to one: with the share `s` of conversions that come within the
    time since, it says 1 − p · s and not 1 − p.

    Args:
        logits: Of click and conversion, (n, 2).
        is_clicked: (n,) float32, 0 or 1.
        is_converted: As far as is known, (n,) float32; of clicks alone.
        seen_share: Share of the conversions that would have come by now, in [0, 1], (n,) float32.
        weights: Of the two losses, 0 or more.

    Source:
        Chapelle 2014, KDD, "Modeling Delayed Feedback in Display Advertising", equation 8. Differs from the
        paper: the delays are fitted before, and are the same for all.
    """
    click, conversion = logits.unbind(dim=1)
    clicks = F.binary_cross_entropy_with_logits(click, is_clicked)
    # −log(1 − p · s), as a difference of softpluses that neither overflows nor loses digits.
    missing = torch.log((1 - seen_share).clamp_min(1e-12))
    none_yet = F.softplus(conversion) - F.softplus(conversion + missing)
    each = torch.where(is_converted > 0, F.softplus(-conversion), none_yet) * is_clicked
    return weights[0] * clicks + weights[1] * each.sum() / len(each)
