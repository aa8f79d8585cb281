"""The simulated market behind a run: who would click what, which only a made-up world can tell."""

from functools import lru_cache
from pathlib import Path

from omegaconf import OmegaConf

from marquee.world import World, WorldConfig, simulate


@lru_cache(maxsize=1)
def market_of(run: Path) -> World | None:
    """Returns the market of a run, None where its data are no simulated ones.

    Args:
        run: Folder of the run, whose config declares the market.
    """
    # Made again from its config, which takes seconds: several steps of the demo need it.
    declared = OmegaConf.select(OmegaConf.load(run / "config.yaml"), "data.world")
    if declared is None:
        return None
    return simulate(WorldConfig(**OmegaConf.to_container(declared)))  # type: ignore[arg-type]  # a mapping
