"""A table of 600 events that trains in a second, and commands run on it in this process."""

import datetime as dt
import json
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

START = dt.datetime(2025, 3, 1)


def mini_events() -> list[tuple[str, str, str]]:
    """Returns user, item and moment of 600 events: each user keeps to one third of 30 items."""
    draw = random.Random(7)
    rows = []
    for number in range(600):
        moment = START + dt.timedelta(minutes=144 * number)
        user = draw.randrange(60)
        rows.append(
            (f"u{user:02d}", f"i{user % 3 * 10 + draw.randrange(10):02d}", f"{moment:%Y-%m-%d %H:%M:%S}")
        )
    return rows


@dataclass(frozen=True)
class MiniShop:
    """A folder with a table, its YAML, and what commands write.

    Attributes:
        path: Holds `e.csv`, `data/mini.yaml`, `runs` and `bundles`.
    """

    path: Path

    @classmethod
    def open(cls, path: Path, **lines: str) -> "MiniShop":
        """Writes table and YAML into a folder.

        Args:
            path: The folder.
            lines: Further keys of the YAML and their values.
        """
        shop = cls(path)
        path.mkdir(parents=True, exist_ok=True)
        shop.write_events(mini_events())
        (path / "configs" / "data").mkdir(parents=True, exist_ok=True)
        text = [
            "name: mini",
            f"root: {json.dumps(str(path))}",
            "events: {path: e.csv, columns: {user_id: user, item_id: item, timestamp: at}}",
            *(f"{key}: {value}" for key, value in lines.items()),
        ]
        (path / "configs" / "data" / "mini.yaml").write_text("\n".join(text) + "\n", encoding="utf-8")
        return shop

    def write_events(self, rows: list[tuple[str, str, str]]) -> None:
        """Writes the table of events in place of the one before."""
        lines = ["user,item,at", *(",".join(row) for row in rows)]
        (self.path / "e.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")

    @property
    def latest(self) -> Path:
        """The latest run."""
        return self.path / "runs" / "mini" / "latest"

    def train_arguments(self, *further: str) -> list[str]:
        """Returns the arguments of a short training."""
        return [
            "--config-dir",
            str(self.path / "configs"),
            "data=mini",
            "trainer.epochs=1",
            "evaluation.baselines.als=false",
            f"runs='{self.path / 'runs'}'",  # quoted: a path may hold what Hydra's grammar reads
            *further,
        ]

    def train(self, monkeypatch: pytest.MonkeyPatch, *further: str) -> int:
        """Trains; returns the exit status."""
        from training.train import main

        return run(monkeypatch, main, *self.train_arguments(*further))


def run(monkeypatch: pytest.MonkeyPatch, main: Callable[[], None], *arguments: str) -> int:
    """Runs a command in this process and returns its exit status."""
    monkeypatch.setattr(sys, "argv", ["marquee", *arguments])
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0
