"""Scores users by a bundle, or the rows of a table by the traits of a run of customers.

One command, because both answer "score these people" with what was learned, and write a table: `bundle` or
`run` says by what.
"""

from training.cli.command import command
from training.cli.console import open_console
from training.score.config import ScoreConfig
from training.score.traits import score_by_traits
from training.score.users import score_bundle


@command("score", ScoreConfig)
def main(config: ScoreConfig) -> None:
    """Scores what the config names."""
    (score_bundle if config.bundle else score_by_traits)(config, open_console())


if __name__ == "__main__":
    main()
