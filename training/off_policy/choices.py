"""Which class stands behind each choice of `ope`: a table of decisions, or a policy of the service."""

from hydra.core.config_store import ConfigStore

from marquee.evaluation.off_policy.policy import PolicyOnLogConfig
from marquee.evaluation.off_policy.table import OffPolicyConfig

SCHEMAS: dict[str, type] = {"table": OffPolicyConfig, "policy": PolicyOnLogConfig}


def register_schemas() -> None:
    """Makes the dataclasses known to Hydra; each YAML of a choice starts from its own schema."""
    for name, node in SCHEMAS.items():
        # As those of a run: beside the group, so that `--help` does not list each choice twice.
        ConfigStore.instance().store(group="schema/ope", name=name, node=node)
