"""The simulated market: tables to learn from without a network, and the truth behind them for tests."""

from marquee.world.config import WorldConfig

__all__ = ["WorldConfig"]
