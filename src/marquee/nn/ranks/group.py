"""The processes that train one model together, and the few things that they tell each other.

A process is a rank, counted from 0. Everything here is a collective call: every rank of the group must make
it, in the same order. Alone, each call is free. Starts no process and opens no connection.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together.

    Attributes:
        rank: Of this process; rank 0 alone judges, reports and writes what is shared.
        size: How many there are.
        is_staged: Whether tensors travel through the memory of the CPU: gloo has no all-to-all of others.
    """

    rank: int = 0
    size: int = 1
    is_staged: bool = False

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def barrier(self) -> None:
        """Waits until every rank has come here."""
        if self.size > 1:
            # A sum of one number: NCCL's own barrier would need to be told the device.
            self.sum_(torch.zeros(1))

    def sum_(self, values: Tensor) -> None:
        """Replaces `values` by their sum over the ranks, the same bits on each."""
        if self.size == 1:
            return
        sent = self._to_wire(values)
        dist.all_reduce(sent)
        if sent is not values:
            values.copy_(sent)

    def broadcast_(self, values: Tensor) -> None:
        """Replaces `values` by those of rank 0."""
        if self.size == 1:
            return
        sent = self._to_wire(values)
        dist.broadcast(sent, src=0)
        if sent is not values:
            values.copy_(sent)

    def broadcast_text(self, text: str) -> str:
        """Returns the text of rank 0; what other ranks give is not read."""
        if self.size == 1:
            return text
        content = torch.frombuffer(bytearray(text.encode() or b" "), dtype=torch.uint8)
        n_bytes = torch.tensor([len(content) if text else 0])
        self.broadcast_(n_bytes)
        if not int(n_bytes):
            return ""
        if not self.is_first:
            content = torch.empty(int(n_bytes), dtype=torch.uint8)
        self.broadcast_(content)
        return bytes(content.tolist()).decode()

    def gather(self, values: Tensor) -> list[Tensor]:
        """Returns the `values` of every rank, in the order of ranks; all have one shape."""
        if self.size == 1:
            return [values]
        sent = self._to_wire(values.contiguous())
        parts = [torch.empty_like(sent) for _ in range(self.size)]
        dist.all_gather(parts, sent)
        return [part.to(values.device) for part in parts]

    def exchange(self, rows: Tensor, n_sent: Sequence[int], n_received: Sequence[int]) -> Tensor:
        """Sends each rank its rows and returns those that all of them have sent here, in the order of ranks.

        Args:
            rows: (n, …), those for rank 0 first.
            n_sent: Rows for each rank; they sum to n.
            n_received: Rows from each rank.
        """
        if self.size == 1:
            return rows
        sent = self._to_wire(rows.contiguous())
        received = sent.new_empty((sum(n_received), *sent.shape[1:]))
        dist.all_to_all_single(received, sent, list(n_received), list(n_sent))
        return received.to(rows.device)

    def _to_wire(self, values: Tensor) -> Tensor:
        """Returns the values where the group can read them."""
        return values.cpu() if self.is_staged else values


ALONE = Ranks()
"""One process, which trains by itself."""
