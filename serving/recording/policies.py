"""Reads the policy by which a surface draws its places, as an operator declares it.

```yaml
policy: {name: softmax, temperature: 0.1, floor: 0.01, share: 0.2}
```
"""

from collections.abc import Mapping
from dataclasses import fields

import msgspec

from marquee.decision.policies.config import NO_EXPLORATION, Exploration, PolicyName
from marquee.errors import ConfigError

NAME = "name"


def read_policy(declared: Mapping[str, object]) -> Exploration:
    """Returns the policy that is declared, the greedy one for nothing.

    Raises:
        ConfigError: If a key is unknown, a number is out of range, or there is no such policy.
    """
    if not declared:
        return NO_EXPLORATION
    # From the dataclass: a setting that is added to it can be declared at once.
    known = [NAME, *(one.name for one in fields(Exploration) if one.name != "policy")]
    unknown = sorted(declared.keys() - set(known))
    if unknown:
        raise ConfigError(f"policy.{unknown[0]} is unknown, expected one of {known}; correct it")
    if declared.get(NAME) not in set(PolicyName):
        raise ConfigError(
            f"policy.name must be one of {[str(name) for name in PolicyName]}, got {declared.get(NAME)!r}"
        )
    numbers = {key: value for key, value in declared.items() if key != NAME}
    try:
        return msgspec.convert({**numbers, "policy": declared[NAME]}, Exploration)
    except msgspec.ValidationError as error:
        raise ConfigError(f"policy is not as expected: {error}") from error


def read_policy_text(text: str) -> Exploration:
    """Returns the policy that a setting declares in YAML on one line; raises as `read_policy`."""
    if not text:
        return NO_EXPLORATION
    try:
        declared = msgspec.yaml.decode(text, type=dict[str, object])
    except msgspec.MsgspecError as error:
        raise ConfigError(
            f"MARQUEE_POLICY must be like {{name: softmax, share: 0.2}}, got {text!r}: {error}"
        ) from error
    try:
        return read_policy(declared)
    except ConfigError as error:
        raise ConfigError(f"MARQUEE_POLICY: {error}") from error
