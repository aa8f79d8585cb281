"""How good lists, probabilities, policies and experiments are, with intervals; pure functions of arrays."""

from typing import TYPE_CHECKING

from marquee.core.faces import lazy

if TYPE_CHECKING:
    from marquee.evaluation.baselines import BaselinesConfig, fit_baselines
    from marquee.evaluation.evaluation import Evaluation, EvaluationTask, evaluate
    from marquee.evaluation.intervals import Estimate
    from marquee.evaluation.metrics import METRICS

__all__ = [
    "METRICS",
    "BaselinesConfig",
    "Estimate",
    "Evaluation",
    "EvaluationTask",
    "evaluate",
    "fit_baselines",
]

__getattr__ = lazy(
    __name__,
    {
        "BaselinesConfig": "baselines",
        "Estimate": "intervals",
        "Evaluation": "evaluation",
        "EvaluationTask": "evaluation",
        "METRICS": "metrics",
        "evaluate": "evaluation",
        "fit_baselines": "baselines",
    },
)
