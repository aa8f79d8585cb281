"""Ray as whoever does tasks: orders and reports of a few hundred bytes go through it, data never do.

Ray is told nothing but JSON and the name of one function of ours. A Ray that is started here listens on
loopback, wants a token, and has neither a dashboard nor reports of its use; it ends with the command.

Trap: whoever reaches a port of Ray, and has its token, runs code there. No address leaves this machine unless
`cluster.address` names a cluster that somebody else has started.
"""

import functools
import os
import secrets
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from types import ModuleType
from typing import Any

from marquee.errors import ConfigError
from training.distributed.work import perform

_MODE, _TOKEN, _TOKEN_FILE = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
# Trap: where it is not 0, Ray looks for an address that other machines reach and listens on every one. It is
# read when Ray is imported; `test_ray_listens_on_loopback_alone`.
_LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Else a CPU machine prints two warnings about accelerators that it does not have.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
}
# The least that Ray takes: reports are all that it stores.
_STORE_BYTES = 80 * 2**20


class RayTasks:
    """Tasks on Ray, one CPU each.

    Args:
        processes: At a time; 0 for one per CPU of the cluster.
        threads: Of each; as many CPUs are reserved for it.
        address: Of a cluster to join; empty to start one.

    Raises:
        ConfigError: If Ray is not installed, cannot be reached, or is to run without authentication.
    """

    def __init__(self, processes: int, threads: int, address: str) -> None:
        self._set: list[str] = []
        self._running: dict[Any, int] = {}  # Any: Ray's references have no type that mypy sees
        try:
            _require_unread_environment()
            self._prepare_environment(address)
            self._ray = _import_ray()
            self._connect(processes, threads, address)
        except BaseException:
            self._restore_environment()
            raise
        n_cpus = int(self._ray.cluster_resources().get("CPU", 1))
        self.capacity = processes or max(1, n_cpus // threads)
        # A task that Ray began again by itself would not be counted, nor the name of its last end be known.
        self._remote = self._ray.remote(num_cpus=threads, max_retries=0)(perform)

    def start(self, number: int, order: bytes) -> None:
        """Begins a task."""
        self._running[self._remote.remote(order)] = number

    def finished(self) -> Iterator[tuple[int, bytes | None, str]]:
        """Waits, then yields number and report of tasks, or None and how its process ended."""
        ready, _ = self._ray.wait(list(self._running), num_returns=1)
        for reference in ready:
            number = self._running.pop(reference)
            try:
                yield number, self._ray.get(reference), ""
            # Of Ray, not of the task: that reports whatever happens within it.
            except self._ray.exceptions.RayError as error:
                yield number, None, f"{type(error).__name__}: {str(error).splitlines()[0]}"

    def close(self) -> None:
        """Ends the Ray that was started, or leaves the one that was joined."""
        self._ray.shutdown()
        self._restore_environment()

    def _restore_environment(self) -> None:
        """Takes away what was set for Ray."""
        for name in self._set:
            os.environ.pop(name, None)
        self._set.clear()

    def _connect(self, processes: int, threads: int, address: str) -> None:
        """Joins the cluster of an address, or starts one on loopback."""
        said: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}  # Any: see `ray.init`
        if not address:
            said["num_cpus"] = processes * threads or len(os.sched_getaffinity(0))
            said |= {"include_dashboard": False, "object_store_memory": _STORE_BYTES}
        try:
            self._ray.init(address=address or "local", **said)
        except (ConnectionError, self._ray.exceptions.RayError, RuntimeError, ValueError) as error:
            raise ConfigError(
                f"cluster.address must be a Ray that runs, with its token in {_TOKEN} or {_TOKEN_FILE}, got "
                f"{address!r}: {error}"
            ) from error
        listens_at = self._ray.util.get_node_ip_address()
        # A release that no longer reads the variable must not open its ports unseen.
        if not address and not ip_address(listens_at).is_loopback:
            self._ray.shutdown()
            raise ConfigError(
                f"a Ray that is started here must listen on loopback, got {listens_at}; install the release "
                "of constraints.txt, or join a cluster by cluster.address"
            )

    def _prepare_environment(self, address: str) -> None:
        """Sees to it that only those who have a token reach Ray, and that it keeps to itself."""
        mode = os.environ.get(_MODE, "token")
        if mode != "token":
            raise ConfigError(
                f"{_MODE} must be token, got {mode!r}; unset it: who reaches a port of Ray runs code there"
            )
        self._put(_MODE, "token")
        for name, value in _QUIET.items():
            self._put(name, value)
        # Of a cluster that is joined, address and token are what its operator has chosen.
        if not address:
            self._put(_LOOPBACK, "0")
            if _TOKEN_FILE not in os.environ:
                self._put(_TOKEN, _token())

    def _put(self, name: str, value: str) -> None:
        """Sets a variable for Ray and its processes, unless the operator has."""
        if name not in os.environ:
            os.environ[name] = value
            self._set.append(name)


@functools.cache
def _token() -> str:
    """Returns a token for the Rays that this process starts: the library keeps the first that it has seen."""
    return secrets.token_hex(32)


@functools.cache
def _require_unread_environment() -> None:
    """Raises ConfigError if Ray was imported before it could be told to keep to itself."""
    if sys.modules.get("ray") is not None:
        raise ConfigError(
            "Ray must be imported by open_cluster, which sets authentication and address first, got a "
            "process that has imported it already; import it in no module that is loaded before"
        )


def _import_ray() -> ModuleType:
    """Returns Ray."""
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            f"cluster=ray needs Ray, got {error}; pip install 'marquee[cluster]', or use cluster=local"
        ) from error
    return ray
