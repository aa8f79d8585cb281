"""Tells Lightning of several processes: who is first, and how they agree.

Lightning's own strategy for several processes wraps the model so that torch sums gradients, sparse ones only
on some backends, and splits batches by a sampler. Here the module sums gradients and batches come in parts,
so that a process is to Lightning one with a device of its own, and with a rank.
"""

import json

import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.strategies.strategy import TBroadcast

from marquee.nn.ranks.group import Ranks


class RanksStrategy(SingleDeviceStrategy):
    """One device of this process, among ranks that step together.

    Args:
        device: Of this process.
        ranks: All of them.
        checkpoints: Writes them.
    """

    def __init__(self, device: torch.device, ranks: Ranks, checkpoints: CheckpointIO) -> None:
        super().__init__(device, checkpoint_io=checkpoints)
        self.ranks = ranks
        self.global_rank, self.world_size = ranks.rank, ranks.size

    @property
    def is_global_zero(self) -> bool:
        """Whether this process writes checkpoints."""
        return self.ranks.is_first

    def barrier(self, name: str | None = None) -> None:  # noqa: ARG002 - Lightning's signature
        """Waits for all."""
        self.ranks.barrier()

    def broadcast(self, obj: TBroadcast, src: int = 0) -> TBroadcast:  # noqa: ARG002 - Lightning's signature
        """Returns the words, numbers or truths of rank 0, as JSON; nothing is pickled."""
        told = self.ranks.broadcast_text(json.dumps(obj) if self.ranks.is_first else "")
        heard: TBroadcast = json.loads(told)
        return heard

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:  # noqa: ARG002 - Lightning's
        """Returns the decision of rank 0, which alone sees the folder and the ranking."""
        return bool(self.broadcast(decision))
