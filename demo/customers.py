"""The customers of the simulated market: who will buy beside the truth, who they are, whom to speak to.

The truth is the market's own: it is simulated again from the config of the run, and says how likely each
click was to lead to a purchase. No other data set has one, so this step is of the market alone.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

from demo.errors import DemoError
from demo.market import market_of
from demo.processes import run_command
from marquee.core.event_kinds import EventKind
from marquee.world import World

REFUSED = 2
"""Exit status of a run that refuses a part, such as a list of too few people, and says why."""

# Purchases come hours after the click: of the last two days some have not come yet.
LAG_DAYS = 2
SECONDS_PER_DAY = 86_400
N_GROUPS = 5

LEADS = """\
name: leads
root: {root}
users: {{path: leads.parquet, columns: {{user_id: lead_id}}}}
traits:
  buys: {{type: probability, outcome: "bought = 'yes'"}}
audiences:
  first: {{order: buys, top: 200, purpose: contact}}
"""

BUYERS = """\
name: buyers
root: {root}
users: {{path: customers.parquet}}
transactions: {{path: purchases.parquet}}
traits:
  group: {{type: segment}}
  worth: {{type: value, horizon_days: 60}}
audiences:
  best: {{where: "worth > 0", order: worth, top: 100}}
"""


@dataclass(frozen=True)
class Held:
    """A probability beside the truth.

    Attributes:
        n: Clicks that both speak of.
        said: Mean probability.
        true: Mean of the true ones.
        groups: Mean said and true of fifths of the clicks by the probability, the lowest first.
        correlation: Of the two, by rank.
    """

    n: int
    said: float
    true: float
    groups: tuple[tuple[float, float], ...]
    correlation: float


def show_customers(console: Console, run: Path, runs: Path) -> list[str]:
    """Computes the customers of the market of a run, and shows them; returns what is wrong.

    Args:
        console: Shows it.
        run: Folder of the run, whose config declares the market.
        runs: Folder of the runs.
    """
    world = market_of(run)
    assert world is not None, f"the run {run} must be one of a simulated market"
    folder = run / "customers"
    truth = write_tables(world, folder)
    _run(folder, "leads", LEADS, runs)
    _run(folder, "buyers", BUYERS, runs)
    held = hold(pl.read_parquet(runs / "customers" / "leads" / "latest" / "traits.parquet"), truth)
    _show_held(console, held)
    buyers = pl.read_parquet(runs / "customers" / "buyers" / "latest" / "traits.parquet")
    _show_groups(console, buyers)
    contacts = runs / "customers" / "leads" / "latest" / "audiences" / "first.csv"
    console.print(f"\naudience of the first leads: {contacts}", soft_wrap=True, highlight=False)
    return wrong_customers(held, buyers, contacts)


def write_tables(world: World, folder: Path) -> pl.DataFrame:
    """Writes leads, customers and purchases of a market; returns `lead_id` and `probability`, the truth.

    Args:
        world: The market.
        folder: Is made; holds the tables.
    """
    folder.mkdir(parents=True, exist_ok=True)
    leads = _leads(world)
    leads.drop("probability").write_parquet(folder / "leads.parquet")
    purchases = world.events.filter(pl.col("kind") == EventKind.conversion)
    purchases.select("user_id", "timestamp", "value").write_parquet(folder / "purchases.parquet")
    clicks = world.events.filter(pl.col("kind") == EventKind.click)
    favourite = (
        clicks.join(world.items.select("item_id", "category"), on="item_id")
        .group_by("user_id")
        .agg(pl.col("category").sort().mode().first().alias("likes"))
    )
    buyers = world.users.join(
        purchases.select("user_id").unique(), on="user_id", how="semi", maintain_order="left"
    )
    attributes = buyers.select("user_id", "age_band", "region", "main_device")
    attributes.join(favourite, on="user_id", how="left", maintain_order="left").write_parquet(
        folder / "customers.parquet"
    )
    return leads.select("lead_id", "probability")


def _leads(world: World) -> pl.DataFrame:
    """Returns one row per click that has had time to lead to a purchase, with what was known at the click."""
    events = world.events
    exposures = events.filter(pl.col("kind") == EventKind.exposure).select("request_id", "item_id")
    exposures = exposures.with_columns(probability=pl.Series(world.exposure_conversion_probability))
    bought = events.filter(pl.col("kind") == EventKind.conversion).select(
        "request_id", "item_id", pl.lit("yes").alias("bought")
    )
    end = world.config.start + (world.config.n_days - LAG_DAYS) * SECONDS_PER_DAY
    seconds = pl.col("timestamp") % SECONDS_PER_DAY
    return (
        events.filter((pl.col("kind") == EventKind.click) & (pl.col("timestamp") < end))
        .join(exposures, on=["request_id", "item_id"], maintain_order="left")
        .join(bought, on=["request_id", "item_id"], how="left", maintain_order="left")
        .join(
            world.items.select("item_id", "category", "quality", "price"), on="item_id", maintain_order="left"
        )
        .join(world.users.select("user_id", "age_band", "region"), on="user_id", maintain_order="left")
        .select(
            pl.col("event_id").alias("lead_id"),
            pl.col("bought").fill_null("no"),
            "category",
            "quality",
            "price",
            "surface",
            "device",
            "age_band",
            "region",
            (seconds // 3600).alias("hour"),
            "probability",
        )
    )


def hold(traits: pl.DataFrame, truth: pl.DataFrame) -> Held:
    """Returns a computed probability beside the true one.

    Args:
        traits: `user_id`, which is the lead, and `buys`.
        truth: `lead_id` and `probability`.
    """
    both = traits.join(truth, left_on="user_id", right_on="lead_id", how="inner").sort("buys", "user_id")
    said, true = both["buys"].to_numpy(), both["probability"].to_numpy()
    groups = tuple(
        (float(said[rows].mean()), float(true[rows].mean()))
        for rows in np.array_split(np.arange(len(said)), N_GROUPS)
    )
    (correlation,) = both.select(pl.corr("buys", "probability", method="spearman")).row(0)
    return Held(len(said), float(said.mean()), float(true.mean()), groups, float(correlation))


def wrong_customers(held: Held, buyers: pl.DataFrame, contacts: Path) -> list[str]:
    """Returns the faults of the customers: each would be one of the code, and not of chance."""
    wrong = []
    # Chance at a few hundred purchases moves the mean by a tenth; a quarter is no chance.
    if not 0.75 * held.true < held.said < 1.25 * held.true:
        wrong.append(
            f"purchases are said to follow {held.said:.3f} of the clicks, the truth is {held.true:.3f}"
        )
    if held.groups[-1][1] <= held.groups[0][1]:
        wrong.append("clicks that are said to lead to a purchase are truly less likely to than the others")
    if "group" not in buyers.columns or buyers["group"].drop_nulls().is_empty():
        wrong.append("no customer has a segment")
    if not contacts.is_file():
        wrong.append(f"there is no audience at {contacts}")
    return wrong


def _run(folder: Path, name: str, declared: str, runs: Path) -> None:
    """Runs the command of customers on a declaration, which is written for whoever wants to change it."""
    configs = folder / "configs" / "customers"
    configs.mkdir(parents=True, exist_ok=True)
    (configs / f"{name}.yaml").write_text(declared.format(root=folder), encoding="utf8")
    arguments = ["-m", "training.customers", "--config-dir", str(folder / "configs"), f"customers={name}"]
    # A list of too few people is refused, which is right in a small market.
    run_command("customers", [*arguments, f"out={runs / 'customers'}"], accepted=(0, REFUSED))
    if not (runs / "customers" / name / "latest").exists():
        raise DemoError(
            f"the run of {name} left no {runs / 'customers' / name / 'latest'}; see what it printed above"
        )


def _show_held(console: Console, held: Held) -> None:
    """Prints the probability beside the truth."""
    console.print(
        f"\n[bold]does a click lead to a purchase?[/] {held.n:,} clicks, each said by others", highlight=False
    )
    table = Table()
    for column in ("clicks, by what is said", "said", "true"):
        table.add_column(column, justify="right")
    for place, (said, true) in enumerate(held.groups, start=1):
        table.add_row(f"fifth {place}", f"{said:.3f}", f"{true:.3f}")
    table.add_row("all", f"{held.said:.3f}", f"{held.true:.3f}")
    console.print(table)
    console.print(f"rank correlation with the truth {held.correlation:.2f}", highlight=False)


def _show_groups(console: Console, buyers: pl.DataFrame) -> None:
    """Prints the segments with what their members are worth."""
    console.print("\n[bold]who buys[/]", highlight=False)
    table = Table()
    for column in ("segment", "customers", "worth"):
        table.add_column(column, justify="left" if column == "segment" else "right")
    groups = (
        buyers.drop_nulls("group")
        .group_by("group")
        .agg(pl.len(), pl.col("worth").mean() if "worth" in buyers.columns else pl.lit(None).alias("worth"))
        .sort("worth", "group", descending=[True, False])
    )
    for name, n, worth in groups.iter_rows():
        table.add_row(str(name), f"{n:,}", "" if worth is None else f"{worth:,.0f}")
    console.print(table)
