"""The settings of whoever does the tasks: `cluster=local` or `cluster=ray`."""

from dataclasses import dataclass

from hydra.core.config_store import ConfigStore

from marquee.errors import ConfigError


@dataclass(kw_only=True)
class ClusterConfig:
    """The settings of every cluster; by itself, as `LocalClusterConfig`.

    Trap: a config that holds one says `field(default_factory=ClusterConfig)`. Hydra merges a choice only into
    its own base class (`test_export_composes_with_either_cluster`).

    Attributes:
        processes: Tasks at a time; 0 for one per CPU that this process may use, or that a joined cluster has.
        threads: Threads of each task; more than one gains only where there are fewer tasks than CPUs.
        attempts: How often a task is begun before it is given up because its process ended under it.
    """

    processes: int = 0
    threads: int = 1
    attempts: int = 3

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError if a number is out of range."""
        if self.processes < 0:
            raise ConfigError(f"cluster.processes must be 0 or more, got {self.processes}")
        for name in ("threads", "attempts"):
            if getattr(self, name) < 1:
                raise ConfigError(f"cluster.{name} must be 1 or more, got {getattr(self, name)}")


@dataclass(kw_only=True)
class LocalClusterConfig(ClusterConfig):
    """Processes of this machine."""


@dataclass(kw_only=True)
class RayClusterConfig(ClusterConfig):
    """Ray, on this machine or on many.

    Attributes:
        address: Of a cluster to join, as `host:6379`, or `auto` for the one that runs on this machine; empty
            starts one on loopback, which ends with the command. Inputs and outputs must lie where every
            machine of the cluster sees them under the same path.
    """

    address: str = ""


CLUSTERS: dict[str, type[ClusterConfig]] = {"local": LocalClusterConfig, "ray": RayClusterConfig}

for _name, _node in CLUSTERS.items():
    # Where the dataclass is: every command that holds one can compose it.
    ConfigStore.instance().store(group="schema/cluster", name=_name, node=_node)
