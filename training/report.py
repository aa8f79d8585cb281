"""`python -m training.report compare RUN RUN …` sets runs beside the first of them."""

import argparse
from pathlib import Path

from training.cli.command import explain_errors
from training.cli.console import open_console
from training.judging.compare import compare


@explain_errors
def main() -> None:
    """Runs the command line: compares runs."""
    parser = argparse.ArgumentParser(prog="python -m training.report", description=__doc__)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("compare", help="set runs beside the first of them")
    command.add_argument("runs", nargs="+", metavar="RUN", help="folder of a run, or `latest`")
    command.add_argument("--metric", default="", help="e.g. ndcg@10; the headline of the first run")
    command.add_argument("--folder", type=Path, help="where to write; the folder of the last run")
    # argparse and not Hydra: runs are a list of paths, not keys of a config.
    given = parser.parse_args()
    compare(given.runs, given.metric, given.folder, open_console())


if __name__ == "__main__":
    main()
