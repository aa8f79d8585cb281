"""The config of a run that is over in a moment."""

from marquee.data.config import DataConfig
from marquee.evaluation.baselines import BaselinesConfig
from marquee.nn.architectures import TwoTowerConfig
from marquee.nn.losses import SampledSoftmaxConfig
from marquee.nn.negatives import MixedNegativesConfig
from marquee.nn.optimizers import LazyAdamConfig
from training.config import EvaluationConfig, ExamplesConfig, TrainConfig, TrainerConfig


def small_config(data: DataConfig, runs: str = "runs") -> TrainConfig:
    """Returns the config of a small model on some data.

    Args:
        data: What it learns from.
        runs: Folder of the run folders.
    """
    return TrainConfig(
        runs=runs,
        data=data,
        model=TwoTowerConfig(dim=8, hidden=8),
        loss=SampledSoftmaxConfig(),
        negatives=MixedNegativesConfig(n_uniform=20),
        optimizer=LazyAdamConfig(learning_rate=0.02),
        examples=ExamplesConfig(batch_size=32),
        trainer=TrainerConfig(epochs=1, accelerator="cpu"),
        evaluation=EvaluationConfig(ks=[10], baselines=BaselinesConfig(als=False)),
    )
