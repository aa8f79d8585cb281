"""Where the repository and its configs lie, for tests at any depth."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
