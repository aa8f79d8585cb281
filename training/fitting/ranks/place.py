"""Where a process stands among those of a training, and how it comes to know the others.

torchrun and Ray say it in variables of the environment, as does the command that starts its own processes.
Rank 0 then tells the others, through a store of a few words, what to train; they wait for it as long as it
takes. Starts nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore

from marquee.errors import ConfigError
from marquee.nn.ranks.group import Ranks
from training.config import TrainerConfig

# Rank 0 reads, prepares and judges while the others wait: no time-out may take that for a fault.
FOREVER = timedelta(days=365)
RUN_KEY = "marquee/run"


@dataclass(frozen=True)
class Place:
    """One process of a training.

    Attributes:
        rank: Among all.
        size: Of all.
        local_rank: On its machine.
        host: Where the store of words is.
        port: Of the store.
        attempt: How often the processes were started before; words of one attempt are not read by the next.
        hosts_store: Whether rank 0 itself opens the store; torchrun's agent has one already.
    """

    rank: int
    size: int
    local_rank: int
    host: str
    port: int
    attempt: int = 0
    hosts_store: bool = False

    @classmethod
    def of_environment(cls, environment: Mapping[str, str]) -> "Place | None":
        """Returns the place that a launcher has given this process; None where there was none."""
        if "RANK" not in environment or "MASTER_ADDR" not in environment:
            return None
        return cls(
            rank=int(environment["RANK"]),
            size=int(environment["WORLD_SIZE"]),
            local_rank=int(environment.get("LOCAL_RANK", "0")),
            host=environment["MASTER_ADDR"],
            port=int(environment["MASTER_PORT"]),
            attempt=int(environment.get("TORCHELASTIC_RESTART_COUNT", "0")),
            hosts_store=environment.get("TORCHELASTIC_USE_AGENT_STORE") != "True",
        )

    @property
    def environment(self) -> dict[str, str]:
        """The same as variables, for a process to be started."""
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.size),
            "LOCAL_RANK": str(self.local_rank),
            "MASTER_ADDR": self.host,
            "MASTER_PORT": str(self.port),
            "TORCHELASTIC_RESTART_COUNT": str(self.attempt),
            "TORCHELASTIC_USE_AGENT_STORE": "True",
        }

    def open_store(self) -> Store:
        """Returns the store of words that all ranks share."""
        is_host = self.hosts_store and self.rank == 0
        return TCPStore(self.host, self.port, is_master=is_host, timeout=FOREVER, wait_for_workers=False)

    def words(self, store: Store) -> Store:
        """Returns the words of this attempt."""
        return PrefixStore(f"marquee/{self.attempt}", store)

    def device(self, config: TrainerConfig) -> torch.device:
        """Returns the device that this process trains on.

        Raises:
            ConfigError: If the config names an accelerator that several processes cannot share out.
        """
        if config.accelerator == "cpu":
            return torch.device("cpu")
        if torch.cuda.is_available() and config.accelerator in ("auto", "gpu", "cuda"):
            return torch.device("cuda", self.local_rank % torch.cuda.device_count())
        if config.accelerator != "auto":
            raise ConfigError(
                f"several processes train on CPUs or GPUs, got trainer.accelerator={config.accelerator} and "
                "no GPU of CUDA; set trainer.accelerator=cpu, or trainer.devices=1"
            )
        return torch.device("cpu")

    def join(self, store: Store, number: int, device: torch.device, devices: int) -> Ranks:
        """Connects this process with the others.

        Args:
            store: `words`.
            number: Of the training among those of this attempt: none reads the words of another.
            device: Of this process.
            devices: Processes on each machine.
        """
        # NCCL refuses two processes on one GPU; through gloo they may share it.
        has_own = device.type == "cuda" and torch.cuda.device_count() >= devices
        backend = "cpu:gloo,cuda:nccl" if has_own and dist.is_nccl_available() else "gloo"
        dist.init_process_group(
            backend,
            store=PrefixStore(f"group/{number}", store),
            rank=self.rank,
            world_size=self.size,
            timeout=FOREVER,
        )
        return Ranks(self.rank, self.size, is_staged=backend == "gloo" and device.type != "cpu")


def leave() -> None:
    """Parts from the other processes."""
    if dist.is_initialized():
        dist.destroy_process_group()
