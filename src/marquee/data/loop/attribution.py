"""The attribution rule: which events came of which exposures, and which came of none.

```
exposure       an item of an answer, at the time of the answer
confirmation   an `exposure` event that names the answer and the item: it was on screen
click          the first one that names both, at most `click_window` after the exposure
conversion     the first one that names both, at most `conversion_window` after the exposure
```

An event that names no answer, or one whose exposure is not in the log (an orphan), stands for itself. So
does one that comes after its window (late). Further ones of a kind inside the window are repeated: they
stay attributed, but the exposure counts once. A window that ends after the cutoff is open: what has not
come of the exposure may still come, so it is neither clicked nor not.

A pure function of frames. Days, files and counts are the business of `loop_table`.
"""

from dataclasses import dataclass

import polars as pl

from marquee.core.event_kinds import EventKind
from marquee.errors import ConfigError
from marquee.store.log.sales import Sale

SECONDS_PER_HOUR, SECONDS_PER_DAY = 3600, 86_400
_KEYS = ("decision_id", "item_id")
_MILLION = 1_000_000


@dataclass(kw_only=True)
class AttributionConfig:
    """How long after an exposure an event counts as having come of it.

    Attributes:
        click_window_hours: For clicks.
        conversion_window_days: For conversions.
        clock_tolerance_seconds: An event may lie so far before its exposure: devices' clocks differ.

    Raises:
        ConfigError: If a number is out of range.
    """

    click_window_hours: float = 1.0
    conversion_window_days: float = 7.0
    clock_tolerance_seconds: int = 300

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError that names the key whose value is impossible."""
        ranges = {
            "click_window_hours": (1 / 60, 24 * 90.0),
            "conversion_window_days": (1 / 1440, 90.0),
            "clock_tolerance_seconds": (0, SECONDS_PER_DAY),
        }
        for key, (lowest, highest) in ranges.items():
            if not lowest <= getattr(self, key) <= highest:
                raise ConfigError(
                    f"{key} must be between {lowest} and {highest}, got {getattr(self, key)} "
                    f"(attribution.{key})"
                )

    @property
    def click_window(self) -> int:
        """Seconds after an exposure in which a click counts."""
        return int(self.click_window_hours * SECONDS_PER_HOUR)

    @property
    def conversion_window(self) -> int:
        """Seconds after an exposure in which a conversion counts."""
        return int(self.conversion_window_days * SECONDS_PER_DAY)

    @property
    def n_days_after(self) -> int:
        """On how many days after that of an exposure an event of it may still lie."""
        longest = max(self.click_window, self.conversion_window)
        # Rounded up: even a window of an hour may reach into the next day.
        return -(-longest // SECONDS_PER_DAY)


def exposures_of(decisions: pl.DataFrame) -> pl.DataFrame:
    """Returns one row per place of some decisions, in their order; an item that stands twice counts once.

    Returns:
        Columns decision_id, item_id, timestamp (seconds), user_id, surface, policy, position (from 0),
        propensity, creative, null where the item had none, campaign_id, bid_type and price (units of the
        currency) of the sale, null where the place was not sold, experiments: the arms that the answer was
        in, `;name=arm@phase;` for each, null for none, asked_id: the request, one for all rows of a page, and
        failed_release: of the arm or canary in whose place the current release answered, null if none failed.
    """
    n_places = pl.col("items").list.len()
    # An empty list would explode into a row without item.
    exploded = decisions.filter(n_places > 0).select(
        "decision_id",
        pl.col("items").alias("item_id"),
        (pl.col("time_ms") // 1000).alias("timestamp"),
        "user_id",
        "surface",
        "policy",
        pl.int_ranges(0, n_places.cast(pl.Int64)).alias("position"),
        pl.col("propensities").alias("propensity"),
        _creatives(decisions).alias("creative"),
        _experiments(decisions).alias("experiments"),
        _asked_id(decisions).alias("asked_id"),
        _failed_releases(decisions).alias("failed_release"),
    )
    # An item that stands twice has one outcome; the place nearer to the top is kept.
    once = exploded.explode("item_id", "position", "propensity", "creative").unique(
        _KEYS, keep="first", maintain_order=True
    )
    return once.join(_sales(decisions), on=_KEYS, how="left", maintain_order="left")


def _sales(decisions: pl.DataFrame) -> pl.DataFrame:
    """Returns the ads of some decisions: their keys, campaign_id, bid_type and price."""
    has_more = "more" in decisions.columns
    more = pl.col("more") if has_more else pl.lit(None, pl.String)
    # As texts: a sale is a list of texts and numbers (see `Sale`), which no type of Polars holds.
    said = more.str.json_decode(pl.Struct({"sales": pl.List(pl.List(pl.String))}))
    sold = decisions.select("decision_id", sale=said.struct.field("sales")).explode("sale")
    part = pl.col("sale").list
    return (
        sold.filter(pl.col("sale").is_not_null())
        .select(
            "decision_id",
            part.get(Sale._fields.index("item_id"), null_on_oob=True).alias("item_id"),
            part.get(Sale._fields.index("campaign_id"), null_on_oob=True).alias("campaign_id"),
            part.get(Sale._fields.index("bid_type"), null_on_oob=True).alias("bid_type"),
            part.get(Sale._fields.index("price"), null_on_oob=True).cast(pl.Float64).alias("price")
            / _MILLION,
        )
        .unique(_KEYS, keep="first", maintain_order=True)
    )


def _creatives(decisions: pl.DataFrame) -> pl.Expr:
    """Returns the names of the creatives of some decisions, a list as long as that of their items."""
    nothing = pl.lit(None, pl.String).repeat_by(pl.col("items").list.len())
    if "more" not in decisions.columns:
        return nothing
    more = pl.col("more").str.json_decode(pl.Struct({"creatives": pl.List(pl.String)}))
    names = more.struct.field("creatives").list.eval(pl.element().replace({"": None}))
    # A decision of before there were creatives says nothing of them.
    return pl.when(names.list.len() == pl.col("items").list.len()).then(names).otherwise(nothing)


def _experiments(decisions: pl.DataFrame) -> pl.Expr:
    """Returns the arms that some decisions were in, as one text each."""
    if "more" not in decisions.columns:
        return pl.lit(None, pl.String)
    more = pl.col("more").str.json_decode(pl.Struct({"experiments": pl.List(pl.List(pl.String))}))
    part = pl.element().list
    said = more.struct.field("experiments").list.eval(
        pl.concat_str(part.get(0), pl.lit("="), part.get(2), pl.lit("@"), part.get(1))
    )
    text = pl.concat_str(pl.lit(";"), said.list.join(";"), pl.lit(";"))
    return pl.when(said.list.len() > 0).then(text).otherwise(pl.lit(None, pl.String))


def _asked_id(decisions: pl.DataFrame) -> pl.Expr:
    """Returns the request of some decisions, by which arms are drawn where no user is the unit."""
    if "request_id" not in decisions.columns:
        return pl.lit(None, pl.String)
    if "more" not in decisions.columns:
        return pl.col("request_id")
    is_row = pl.col("more").str.json_path_match("$.asked.row").is_not_null()
    # Rows are numbered behind the request of their page, which is what was drawn: they are one unit.
    page = pl.col("request_id").str.replace(r"\.\d+$", "")
    return pl.when(is_row).then(page).otherwise("request_id")


def _failed_releases(decisions: pl.DataFrame) -> pl.Expr:
    """Returns the releases that failed in some decisions, null where none did."""
    if "more" not in decisions.columns:
        return pl.lit(None, pl.String)
    more = pl.col("more").str.json_decode(pl.Struct({"failed_release": pl.String}))
    return more.struct.field("failed_release").replace({"": None})


def attribute(exposures: pl.DataFrame, events: pl.DataFrame, config: AttributionConfig) -> pl.DataFrame:
    """Returns the events that name one of the exposures, and whether each came of it.

    Args:
        exposures: As `exposures_of` gives them.
        events: With sequence, kind, decision_id, item_id, timestamp and value.
        config: The windows.

    Returns:
        Columns sequence, kind, decision_id, item_id, event_time, value, user_id (of the exposure),
        `is_inside` (its window), and `is_first` of its kind there; ordered by time, then sequence.
    """
    shown = exposures.select(*_KEYS, "user_id", pl.col("timestamp").alias("shown_at"))
    named = events.select("sequence", "kind", *_KEYS, pl.col("timestamp").alias("event_time"), "value")
    # Sorted after the join, which promises no order.
    matched = named.join(shown, on=_KEYS, how="inner").sort("event_time", "sequence")
    window = (
        pl.when(pl.col("kind") == EventKind.conversion)
        .then(config.conversion_window)
        .otherwise(config.click_window)
    )
    after = pl.col("event_time") - pl.col("shown_at")
    # From below 0 on, as a device's clock may run behind the server's.
    matched = matched.with_columns(is_inside=after.is_between(-config.clock_tolerance_seconds, window))
    # Of equal times the lower sequence is the first: frames are sorted by both.
    is_first = pl.col("is_inside") & (pl.col("is_inside").cast(pl.Int64).cum_sum().over(*_KEYS, "kind") == 1)
    return matched.with_columns(is_first=is_first).drop("shown_at")


def with_outcomes(
    exposures: pl.DataFrame, attributed: pl.DataFrame, cutoff: int, config: AttributionConfig
) -> pl.DataFrame:
    """Returns the exposures with what came of them.

    Args:
        exposures: As `exposures_of` gives them.
        attributed: As `attribute` gives them.
        cutoff: First second that is not known, since 1970 UTC.
        config: The windows.

    Returns:
        Further columns is_confirmed, clicked_at, converted_at, conversion_value, revenue, click_is_open and
        conversion_is_open; times are null where nothing came. `revenue` is what the campaign owes for the
        exposure by what came of it, units of the currency, null where the place was not sold: budgets that
        were gone by then are not looked at.
    """
    first = attributed.filter("is_first")
    clicks, conversions = (
        first.filter(pl.col("kind") == kind) for kind in (EventKind.click, EventKind.conversion)
    )
    # Each once: a repeated confirmation would repeat the exposure in the join.
    confirmed = attributed.filter(pl.col("kind") == EventKind.exposure).select(*_KEYS).unique()
    joined = exposures.join(
        confirmed.with_columns(is_confirmed=pl.lit(True)), on=_KEYS, how="left", maintain_order="left"
    )
    # Left joins that keep the order: the rows stay those of the answers.
    joined = joined.join(
        clicks.select(*_KEYS, clicked_at="event_time"), on=_KEYS, how="left", maintain_order="left"
    ).join(
        conversions.select(*_KEYS, converted_at="event_time", conversion_value="value"),
        on=_KEYS,
        how="left",
        maintain_order="left",
    )
    # A time equal to the cutoff is not known any more.
    open_since = {
        "click_is_open": cutoff - config.click_window,
        "conversion_is_open": cutoff - config.conversion_window,
    }
    bid_type = pl.col("bid_type")
    is_owed = (
        (bid_type == "cpm")
        | (bid_type == "cpc") & pl.col("clicked_at").is_not_null()
        | (bid_type == "cpa") & pl.col("converted_at").is_not_null()
    )
    return joined.with_columns(
        pl.col("is_confirmed").fill_null(False),
        (pl.col("price") * is_owed).alias("revenue"),
        *(((pl.col("timestamp") >= since).alias(name)) for name, since in open_since.items()),
    )
