"""`python -m training.simulate data=world`: writes the tables of a simulated market."""

from dataclasses import dataclass
from pathlib import Path

from marquee.data.config import DataConfig
from marquee.errors import ConfigError
from marquee.world import simulate, write_world
from training.cli.command import command
from training.cli.console import open_console


@dataclass(kw_only=True)
class SimulateConfig:
    """Which market to simulate; its tables go to `data.root`."""

    data: DataConfig


@command("simulate", SimulateConfig)
def main(config: SimulateConfig) -> None:
    """Simulates the market that the config declares."""
    data, console = config.data, open_console()
    if data.world is None:
        raise ConfigError(
            f"data set {data.name!r} declares no market, got data.world=null; choose data=world, or train on "
            "it as it is"
        )
    root = Path(data.root)
    with console.status("simulating"):
        write_world(simulate(data.world), root)
    console.print(f"simulated {data.name} into {root}")
    for path in sorted(root.iterdir()):
        console.print(f"  {path}")


if __name__ == "__main__":
    main()
