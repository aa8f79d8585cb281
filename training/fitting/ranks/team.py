"""The processes of a training as rank 0 sees them: it starts them, tells them what to train, and ends them.

Started here they are children of this process; under torchrun and Ray they are there already. A child that
dies takes the training of that moment with it, not the command: all children are started again, and training
goes on from its last checkpoint. What torchrun starts, torchrun starts again.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import torch
from torch._C._distributed_c10d import Store, TCPStore

from marquee.errors import ConfigError
from marquee.nn.ranks.group import Ranks
from training.config import TrainerConfig
from training.fitting.ranks.place import RUN_KEY, Place, leave

LOOPBACK = "127.0.0.1"
POLL_SECONDS = 0.05
# From the loss of a connection until the process behind it is seen to have ended.
GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class Order:
    """A training that rank 0 tells the others to take part in.

    Attributes:
        part: Folder of the shared training part and of the config.
        folder: Of the run.
        resumes: Whether training goes on from the last checkpoint there.
        is_ranked: Whether rank 0 ranks validation users and tells what it finds.
    """

    part: str
    folder: str
    resumes: bool
    is_ranked: bool


class Members(Protocol):
    """The other processes, as whoever started them sees them."""

    def start(self, places: list[Place]) -> None:
        """Starts one process for each place."""
        ...

    def lost(self) -> str:
        """Returns how one of them ended, '' while all are there."""
        ...

    def stop(self) -> None:
        """Ends those that are still there."""
        ...


@dataclass
class Children:
    """Processes of this machine."""

    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, places: list[Place]) -> None:
        """See `Members`."""
        command = [sys.executable, "-m", "training.runs.following"]
        for place in places:
            # A session of their own: Ctrl-C is for rank 0, which ends them.
            self.processes.append(
                subprocess.Popen(
                    command,
                    env={**os.environ, **place.environment},
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
            )

    def lost(self) -> str:
        """See `Members`."""
        for process in self.processes:
            if process.poll() is not None:
                return f"process {process.pid} ended with {process.returncode}"
        return ""

    def stop(self) -> None:
        """See `Members`."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
        self.processes.clear()


class Others:
    """Processes that a launcher has started, and starts again."""

    def start(self, places: list[Place]) -> None:
        """Does nothing: they are there."""

    def lost(self) -> str:
        """Returns '': the launcher watches them."""
        return ""

    def stop(self) -> None:
        """Does nothing: they end when they are told that there is nothing left to train."""


class Team:
    """All processes of a training, in the hands of rank 0; see `open_team`.

    Args:
        place: Of this process.
        store: Of the words that they leave each other.
        members: The others.
        config: Of the trainer.
    """

    def __init__(self, place: Place, store: Store, members: Members, config: TrainerConfig) -> None:
        self.place = place
        self.store = store
        self.members = members
        self.config = config
        self.n_orders = 0
        self.is_started = False

    @property
    def device(self) -> torch.device:
        """Of this process."""
        return self.place.device(self.config)

    def begin(self, order: Order) -> Ranks:
        """Tells the others what to train, and connects with them once they are ready.

        Raises:
            MemberLostError: If one of them has ended.
        """
        if not self.is_started:
            self.members.start([replace(self.place, rank=rank, local_rank=rank) for rank in self._others])
            self.is_started = True
        number, words = self.n_orders, self.words
        words.set(f"order/{number}", json.dumps(vars(order)))
        self._wait([f"ready/{number}/{rank}" for rank in self._others])
        self.n_orders += 1
        return self.place.join(words, number, self.device, self.config.devices)

    def end(self, *, is_whole: bool) -> None:
        """Parts from the others after a training; if they were left in the midst of it, ends them."""
        if is_whole:
            # Before the connection goes: the others may still be reading what was said last.
            self._wait([f"left/{self.n_orders - 1}/{rank}" for rank in self._others])
        else:
            self.restart()
        leave()

    def lost(self) -> str:
        """Returns how a process was lost, '' if none was; waits a little for it to be seen."""
        until = time.monotonic() + GRACE_SECONDS
        while not (how := self.members.lost()) and time.monotonic() < until:
            time.sleep(POLL_SECONDS)
        return how

    def restart(self) -> None:
        """Ends all others; the next training starts them again."""
        self.members.stop()
        self.is_started, self.n_orders = False, 0
        self.place = replace(self.place, attempt=self.place.attempt + 1)

    def close(self) -> None:
        """Tells the others that nothing is left to train."""
        if self.is_started:
            self.words.set(f"order/{self.n_orders}", "")
        self.members.stop()

    def tell_run(self, folder: Path) -> None:
        """Leaves word of the run folder for a launcher's next attempt, which goes on with it."""
        self.store.set(RUN_KEY, str(folder.resolve()))

    def earlier_run(self) -> str:
        """Returns the run folder of the attempt before this one, '' if this is the first."""
        return self.store.get(RUN_KEY).decode() if self.place.attempt and self.store.check([RUN_KEY]) else ""

    @property
    def words(self) -> Store:
        """The words of this attempt."""
        return self.place.words(self.store)

    @property
    def _others(self) -> range:
        return range(1, self.place.size)

    def _wait(self, keys: list[str]) -> None:
        """Waits until the others have said all of these."""
        words = self.words
        while not words.check(keys):
            if how := self.members.lost():
                raise MemberLostError(how)
            time.sleep(POLL_SECONDS)


class MemberLostError(RuntimeError):
    """A process of the training has ended before its time."""


@contextmanager
def open_team(config: TrainerConfig) -> Iterator[Team | None]:
    """Yields the processes of a training, or None where one process trains alone.

    Raises:
        ConfigError: If the config asks for other processes than were started.
    """
    if config.n_ranks == 1:
        yield None
        return
    team = Team(*_started(config), config)
    try:
        yield team
    finally:
        team.close()
        leave()


def _started(config: TrainerConfig) -> tuple[Place, Store, Members]:
    """Returns rank 0's place, its store, and the others, as a launcher or this process starts them."""
    place = Place.of_environment(os.environ)
    if place is not None:
        require_place(place, config)
        return place, place.open_store(), Others()
    if config.nodes > 1:
        raise ConfigError(
            f"trainer.nodes={config.nodes} needs a start on each machine: torchrun --nnodes {config.nodes} "
            f"--nproc-per-node {config.devices} … -m training.train …, or cluster=ray"
        )
    if sys.platform == "linux":
        # gloo would listen at whatever the machine's name resolves to.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    store = TCPStore(LOOPBACK, 0, is_master=True, wait_for_workers=False)
    return Place(0, config.n_ranks, 0, LOOPBACK, store.port), store, Children()


def require_place(place: Place, config: TrainerConfig) -> None:
    """Raises ConfigError unless a launcher has started as many processes as the config says."""
    if place.size != config.n_ranks:
        raise ConfigError(
            f"{place.size} processes were started, expected trainer.devices={config.devices} times "
            f"trainer.nodes={config.nodes}; give the same numbers to both"
        )
