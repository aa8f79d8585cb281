"""`python -m training.simulate data=world`: the tables of a simulated market, or flights on it."""

from pathlib import Path

import yaml
from rich.console import Console

from marquee.ads.allocation import Share
from marquee.errors import ConfigError, DataError
from marquee.reports.evidence.page import write_page
from marquee.store.campaigns.campaign import Campaign
from marquee.store.campaigns.checks import validate_campaign
from marquee.store.campaigns.money import PER_UNIT
from marquee.store.campaigns.plain import campaign_of
from marquee.world import World, simulate, write_world
from training.cli.command import command
from training.cli.console import open_console
from training.simulate.auctions import Source
from training.simulate.config import SimulateConfig
from training.simulate.dividing import divide
from training.simulate.flying import fly
from training.simulate.market import on_market
from training.simulate.page import flights_page
from training.simulate.recorded import on_log, on_stream

NAME = "flights"


@command("simulate", SimulateConfig)
def main(config: SimulateConfig) -> None:
    """Simulates what the config declares."""
    console = open_console()
    if config.flights:
        fly_campaigns(config, console)
    else:
        write_market(config, console)


def write_market(config: SimulateConfig, console: Console) -> None:
    """Writes the tables of a market."""
    root = Path(config.data.root)
    with console.status("simulating"):
        write_world(_market(config), root)
    console.print(f"simulated {config.data.name} into {root}")
    for path in sorted(root.iterdir()):
        console.print(f"  {path}")


def fly_campaigns(config: SimulateConfig, console: Console) -> None:
    """Flies campaigns, prints what became of them and writes a page.

    Raises:
        CampaignError: If a campaign cannot be.
        ConfigError: If a file cannot be read, or a flight does not fit.
        DataError: If the auctions cannot be used.
    """
    campaigns = [read_campaign(Path(one)) for one in config.flights]
    with console.status("flying"):
        sources = _sources(config, campaigns)
        shares: dict[str, Share] = {}
        if config.budget is not None:
            sources, shares = divide(sources, round(config.budget * PER_UNIT))
        if not sources:
            raise DataError(
                f"none of {len(campaigns)} campaigns got a part of the budget; nothing is for sale"
            )
        page = flights_page([fly(one) for one in sources], shares)
        path = write_page(page, Path(config.out), NAME)
    for name, one in shares.items():
        console.print(
            f"{name} gets {one.spend / PER_UNIT:,.2f}, expects {one.results:,.1f} results, bids up to "
            f"{one.bid / PER_UNIT:,.4f} for a thousand"
        )
    for finding in page.findings:
        console.print(f"{finding.title}: {finding.text}")
    for warning in page.warnings:
        console.print(f"note: {warning}")
    console.print(f"report {path}")


def read_campaign(path: Path) -> Campaign:
    """Returns the campaign of a file.

    Args:
        path: JSON or YAML, as `POST /v1/campaigns` takes it.

    Raises:
        CampaignError: If it cannot be.
        ConfigError: If the file cannot be read, or holds no mapping.
    """
    try:
        said = yaml.safe_load(path.read_text(encoding="utf-8"))  # JSON is YAML
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"flights must name files of campaigns, got {path}: {error}") from error
    if not isinstance(said, dict):
        raise ConfigError(
            f"{path} must hold the fields of one campaign, got {type(said).__name__}; correct it"
        )
    campaign = campaign_of(said)
    validate_campaign(campaign)
    return campaign


def _sources(config: SimulateConfig, campaigns: list[Campaign]) -> list[Source]:
    """Returns the auctions of each campaign."""
    if config.stream:
        return [on_stream(one, Path(config.stream), config.price_unit) for one in campaigns]
    if config.log:
        return [on_log(one, config.log, config.closed, config.seed) for one in campaigns]
    world = _market(config)
    return [on_market(one, world, config.seed) for one in campaigns]


def _market(config: SimulateConfig) -> World:
    """Returns the market that the config declares; raises ConfigError if it declares none."""
    data = config.data
    if data.world is None:
        raise ConfigError(
            f"data set {data.name!r} declares no market, got data.world=null; choose data=world, or train on "
            "it as it is"
        )
    return simulate(data.world)


if __name__ == "__main__":
    main()
