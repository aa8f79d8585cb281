"""Writes the card of a run into its folder, as page, Markdown and JSON; empty sections stop it."""

from dataclasses import dataclass, field

from marquee.reports.evidence.card import CARD, CardWords, card_page
from marquee.reports.evidence.page import write_page
from training.cli.command import command
from training.cli.console import open_console
from training.exporting.card_facts import read_facts
from training.runs.folders import RunFolder


@dataclass(kw_only=True)
class CardConfig:
    """A run, and the words that only people know.

    Attributes:
        run: Folder of the run, or `latest`.
        card: The words.
        protected: Columns of the users table to measure gaps by, and to audit; empty for those of the run.
        drift: `drift.json` of a report of drift; empty for none.
        experiments: `experiment.json` of experiments with this model.
    """

    run: str
    card: CardWords
    protected: list[str] = field(default_factory=list)
    drift: str = ""
    experiments: list[str] = field(default_factory=list)


@command("card", CardConfig)
def main(config: CardConfig) -> None:
    """Writes the card of the run that the config names."""
    config.card.validate()  # before the model is loaded
    console = open_console()
    folder = RunFolder.find(config.run)
    facts = read_facts(folder, config.protected, config.drift, config.experiments, console)
    path = write_page(card_page(config.card, facts), folder.path, CARD)
    console.print(f"card {path}")
    # A bundle is signed and checked byte by byte: nothing can be put into one that is there.
    console.print(
        f"bundles of before do not carry it: marquee export run={folder.path} makes one that does",
        highlight=False,
    )


if __name__ == "__main__":
    main()
