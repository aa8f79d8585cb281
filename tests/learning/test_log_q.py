"""The sign of the correction: popularity must neither push an item up nor down.

Group 1 makes most of the traffic and likes X, and never Y. Group 2 likes X and Y equally. X is therefore
drawn far more often as a candidate, which says nothing of what group 2 likes: the scores of X and Y for
group 2 must come out equal.
"""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from marquee.features import FeatureEncoder
from marquee.nn.architectures import MatrixFactorizationConfig
from marquee.nn.batches import QueryBatch, TrainingBatch
from marquee.nn.losses import SampledSoftmaxConfig, sampled_softmax_loss
from marquee.nn.models import ModelInputs, TwoTower
from marquee.nn.negatives import MixedNegativesConfig
from marquee.nn.optimizers import LazyAdamConfig
from tests.support.small_models import embed, no_features

X, Y, N_ITEMS = 1, 2, 6
TASTES = torch.tensor([[0.8, 0.0, 0.05, 0.05, 0.05, 0.05], [0.3, 0.3, 0.1, 0.1, 0.1, 0.1]])
SHARE_OF_GROUP_2 = 0.2
POPULARITY = (1 - SHARE_OF_GROUP_2) * TASTES[0] + SHARE_OF_GROUP_2 * TASTES[1]
BATCH, STEPS = 256, 250


def draw_batch(generator: torch.Generator) -> TrainingBatch:
    """Returns events of the two groups; each group asks as one user."""
    group = (torch.rand(BATCH, generator=generator) < SHARE_OF_GROUP_2).long()
    item = 1 + torch.multinomial(TASTES[group], 1, generator=generator)[:, 0]
    return TrainingBatch(ask(group + 1), item, torch.arange(BATCH), torch.ones(BATCH))


def ask(user: Tensor) -> QueryBatch:
    nothing = torch.zeros(len(user), 0)
    return QueryBatch(user, nothing.long(), nothing, nothing.long(), nothing.long())


def train(sign: int, n_uniform: int) -> TwoTower:
    """Returns a model trained with `sign` times the correction."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    no_encoder = FeatureEncoder.fit({}, {})
    inputs = ModelInputs(2, N_ITEMS, no_encoder, no_encoder, no_features(N_ITEMS + 1), 1, 1)
    model = MatrixFactorizationConfig(dim=4, normalise=False, item_bias=False).build(inputs).train()
    counts = torch.cat([torch.zeros(1), POPULARITY])
    sampler = MixedNegativesConfig(n_uniform=n_uniform).build(counts)
    optimizer = LazyAdamConfig(learning_rate=0.05).build(model.parameters())
    schedule = LambdaLR(optimizer, lambda step: LazyAdamConfig().rate(step / STEPS))
    for _ in range(STEPS):
        batch = draw_batch(generator)
        logits = model(batch, sampler.sample(batch.target_item, generator))
        signed = replace(
            logits,
            log_q_positive=sign * logits.log_q_positive,
            log_q_negatives=sign * logits.log_q_negatives,
        )
        optimizer.zero_grad()
        torch.autograd.backward(
            sampled_softmax_loss(signed, batch.weight, SampledSoftmaxConfig(temperature=1.0))
        )
        optimizer.step()
        schedule.step()
    return model.eval()


@pytest.mark.parametrize("n_uniform", [0, 128], ids=["in_batch", "mixed"])
@pytest.mark.parametrize("sign", [1, 0, -1], ids=["corrected", "uncorrected", "wrong_sign"])
def test_popularity_pushes_no_item_if_the_correction_is_right(sign: int, n_uniform: int) -> None:
    model = train(sign, n_uniform)
    with torch.no_grad():
        scores = embed(model, ask(torch.tensor([2])))[0] @ model.embed_items(torch.arange(N_ITEMS + 1)).T
    draws = BATCH * POPULARITY + n_uniform / N_ITEMS
    log_ratio = math.log(draws[X - 1] / draws[Y - 1])
    pushed_down_by = (1 - sign) * log_ratio  # uncorrected once, with the wrong sign twice
    assert log_ratio > 1.5
    assert (scores[X] - scores[Y]).item() == pytest.approx(-pushed_down_by, abs=0.35)
    assert (scores[Y] - scores[3]).item() == pytest.approx(math.log(0.3 / 0.1), abs=0.5)
