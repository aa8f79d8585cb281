"""The last words of a training whose model is not clearly better than what needs no training: what to try.

A model that loses to a neighbour count should not be exported unnoticed. Refuses nothing (see `gate`).
"""

from collections.abc import Iterator

from marquee.core.schema import TimeMeaning
from marquee.reports import Comparison, Finding, judge_against
from training.config import TrainConfig
from training.judging.judge import Judgement

SIMPLE = ("item_knn", "als")
"""The simple methods that a learned model must be better than to be worth its training."""


def advice(judgement: Judgement, config: TrainConfig) -> Iterator[str]:
    """Yields what a person should know before an export; nothing where the model is clearly better.

    Args:
        judgement: Of the model.
        config: Of its run.
    """
    verdict = judge_against(judgement.evaluation, f"ndcg@{config.evaluation.headline_k}")
    short = [
        one for one in verdict.comparisons if one.reference in SIMPLE and one.finding is not Finding.better
    ]
    if not short:
        return
    beside = " and ".join(map(_beside, short))
    yield f"before you export: on {judgement.part_name} the model {beside}"
    for what in _to_try(config):
        yield f"  try {what}"
    yield "  or serve it all the same: python -m training.evaluate run=… gate=baselines refuses it"


def _beside(comparison: Comparison) -> str:
    """Returns how the model stands beside one reference, in words."""
    word = "is worse than" if comparison.finding is Finding.worse else "is not clearly better than"
    gap = comparison.difference
    return f"{word} {comparison.reference} ({gap.mean:+.4f}, {gap.low:+.4f} to {gap.high:+.4f})"


def _to_try(config: TrainConfig) -> Iterator[str]:
    """Yields what might help, the cheapest first."""
    towers = config.model.towers()
    if config.data.time is TimeMeaning.absolute:
        yield "another examples.half_life_days, or 0: how fast taste changes is a fact of your data"
    if not towers.item_neighbours:
        yield "model.item_neighbours=20: rare items then learn from their company"
    yield f"model.dim={2 * towers.dim}, and start.scale=1 with a third of optimizer.learning_rate"
    yield "python -m training.tune with the same arguments: it searches on validation"
