"""Reads the file that says what a click, a conversion and revenue are worth."""

from pathlib import Path

import msgspec

from marquee.ads.objective import Objective
from marquee.errors import ConfigError


def read_objective(path: str) -> Objective:
    """Returns the objective of a file; money alone without one.

    Args:
        path: YAML, such as `configs/objective.yaml`; empty for none.

    Raises:
        ConfigError: If the file cannot be read, or a worth is none.
    """
    if not path:
        return Objective()
    try:
        said = msgspec.yaml.decode(Path(path).read_bytes())
        unknown = sorted(set(said) - set(Objective.__dataclass_fields__)) if isinstance(said, dict) else []
        if unknown:
            known = sorted(Objective.__dataclass_fields__)
            raise ConfigError(f"{unknown[0]} in {path} is unknown, expected one of {known}; correct it")
        return msgspec.convert(said, Objective)
    except (OSError, UnicodeDecodeError, msgspec.MsgspecError) as error:
        raise ConfigError(f"MARQUEE_OBJECTIVE must name a file of worths, got {path}: {error}") from error
