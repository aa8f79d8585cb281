"""One example of every loss, with knobs under which it differs from its neighbours."""

from marquee.nn.losses import (
    LOSSES,
    BilateralSoftmaxConfig,
    CosineContrastiveConfig,
    DegreeWeightedConfig,
    LossConfig,
    SampledSoftmaxConfig,
    TopKSoftmaxConfig,
)

EXAMPLES: dict[str, LossConfig] = {
    **{name: config() for name, config in LOSSES.items()},  # a new loss is tested from the day of its name
    "sampled_softmax": SampledSoftmaxConfig(temperature=0.5),
    "softmax_uncorrected": SampledSoftmaxConfig(temperature=0.5, log_q_correction=False),
    "bilateral_softmax": BilateralSoftmaxConfig(temperature=0.5, positive_temperature=0.4),
    "top_k_softmax": TopKSoftmaxConfig(temperature=0.5, k=2),
    "cosine_contrastive": CosineContrastiveConfig(margin=-0.9),
    "degree_weighted": DegreeWeightedConfig(temperature=0.5),
}
