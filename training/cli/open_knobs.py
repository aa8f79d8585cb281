"""Knobs that a config leaves open: `${open:64}` is whatever the data ask for, and 64 where nothing asks.

A number on the command line, or in a YAML above the menu's, takes the place of the words: so it is known
which knobs somebody has set, also to the number that they would have had. Does not set any (see
`training.fitting.recipe`).
"""

from collections.abc import Iterator

from omegaconf import DictConfig, Node, OmegaConf

OPEN = "open"
LEFT_OPEN = "left_open"  # key of the names, where a schema has one

# Resolved wherever nobody fills the knobs in, such as in `--cfg job --resolve`.
OmegaConf.register_new_resolver(OPEN, lambda fallback: fallback, replace=True)


def with_left_open(config: DictConfig) -> DictConfig:
    """Returns a composed config that names the knobs which are still `${open:…}` in it."""
    found = sorted(_open_keys(config, ""))
    # A run's own config has numbers in their place, and may name them already.
    if LEFT_OPEN not in config or not found:
        return config
    named = config.copy()
    named[LEFT_OPEN] = found
    return named


def _open_keys(config: DictConfig, prefix: str) -> Iterator[str]:
    """Yields the dotted names of the keys whose value is `${open:…}`."""
    for key in config:
        node = config._get_node(key)
        if isinstance(node, DictConfig) and not (node._is_none() or node._is_missing()):
            yield from _open_keys(node, f"{prefix}{key!s}.")
        # Asked of the node and not of the config, which would resolve it.
        elif isinstance(node, Node) and str(node._value()).startswith("${" + OPEN + ":"):
            yield f"{prefix}{key!s}"
