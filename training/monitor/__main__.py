"""Compares a log with a bundle, or two tables, and writes a page; exits with 2 where something shifted."""

import sys
from dataclasses import dataclass
from pathlib import Path

from marquee.evaluation.drift.config import DriftConfig
from marquee.evaluation.drift.watching import watch
from marquee.reports.evidence.drift import drift_page
from marquee.reports.evidence.page import write_page
from training.cli.command import command
from training.cli.console import open_console
from training.monitor.log import is_bundle, watch_log

# A scheduler sees the shift without reading the page.
EXIT_ALARM = 2


@dataclass(kw_only=True)
class MonitorConfig(DriftConfig):
    """A bundle and a log, or two tables, and where the report goes.

    Attributes:
        out: Folder of the report.
    """

    out: str = "evidence/drift"


@command("monitor", MonitorConfig)
def main(config: MonitorConfig) -> None:
    """Compares what the config names."""
    drift = watch_log(config) if is_bundle(config) else watch(config)
    path = write_page(drift_page(drift, config.reference, config.current), Path(config.out), "drift")
    console = open_console()
    for alarm in drift.alarms:
        console.print(f"alarm: {alarm}")
    for name, reason in drift.unjudged.items():
        console.print(f"not judged: {name}: {reason}")
    console.print(f"report {path}")
    if drift.alarms:
        sys.exit(EXIT_ALARM)
    console.print("quiet")


if __name__ == "__main__":
    main()
