"""`python -m training.download data=…`: fetches a published data set from its publisher, and verifies it."""

from dataclasses import dataclass
from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from marquee.data.config import DataConfig
from marquee.data.download import download
from marquee.errors import ConfigError
from training.cli.command import command
from training.cli.console import open_console


@dataclass(kw_only=True)
class DownloadCommandConfig:
    """Which data set to fetch; it goes to `data.root`."""

    data: DataConfig


@command("download", DownloadCommandConfig)
def main(config: DownloadCommandConfig) -> None:
    """Fetches the data set that the config names."""
    data, console = config.data, open_console()
    if data.download is None:
        raise ConfigError(
            f"data set {data.name!r} declares no publisher, got data.download=null; put its files into "
            f"{data.root!r} yourself"
        )
    console.print(f"{data.name}: {data.download.page} (read the publisher's terms there)", highlight=False)
    columns = (TextColumn("fetching"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        # Servers need not say how long a file is.
        task = progress.add_task("fetch", total=None)
        paths = download(
            data.download,
            Path(data.root),
            lambda done, total: progress.update(task, completed=done, total=total),
        )
    for path in paths:
        console.print(str(path), highlight=False)


if __name__ == "__main__":
    main()
