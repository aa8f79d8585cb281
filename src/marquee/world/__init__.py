"""The simulated market: tables to learn from without a network, and the truth behind them for tests.

`simulate` makes a world from a config and `write_world` its tables; `World.market` answers any slate.
`tiny_world` and `chequer_board` are made for tests.
"""

from marquee.world.boards import ChequerBoard, chequer_board
from marquee.world.config import WorldConfig
from marquee.world.market import Market
from marquee.world.simulation import World, simulate, tiny_world, write_world
from marquee.world.truth import Truth

__all__ = [
    "ChequerBoard",
    "Market",
    "Truth",
    "World",
    "WorldConfig",
    "chequer_board",
    "simulate",
    "tiny_world",
    "write_world",
]
