"""Flights of campaigns on the market, on streams and on a service's log; one budget over several of them."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from rich.console import Console

from marquee.data.config import DataConfig
from marquee.data.table_config import TableConfig
from marquee.errors import CampaignError, ConfigError, DataError
from marquee.store.campaigns.campaign import BidType, Campaign, CapScope, Creative, FrequencyCap, Targeting
from marquee.world import World, WorldConfig, simulate
from tests.support.ad_service import AdService, booking
from tests.support.bundles import publish_tiny
from tests.support.markdown import blocks, commands
from tests.support.paths import CONFIGS
from training.cli.command import as_object
from training.simulate.__main__ import fly_campaigns, read_campaign
from training.simulate.auctions import Auctions, Source
from training.simulate.config import SimulateConfig
from training.simulate.dividing import divide
from training.simulate.flying import Flown, fly
from training.simulate.market import on_market
from training.simulate.recorded import on_log, on_stream

DAY, EURO = 86_400, 1_000_000
MARKET = WorldConfig(
    seed=3, n_days=42, n_users=80, n_content=20, n_ads=8, n_campaigns=4, n_advertisers=2, requests_per_user=40
)
SPRING = {
    "campaign_id": "spring",
    "advertiser": "Acme",
    "payer": "Acme GmbH",
    "starts": MARKET.start + 28 * DAY,
    "ends": MARKET.start + 42 * DAY,
    "total_budget": 0.6,
    "bid": 12,
    "creatives": [{"item_id": "a1"}, {"item_id": "a2"}, {"item_id": "a3"}],
}


@pytest.fixture(scope="module")
def world() -> World:
    return simulate(MARKET)


def campaign(folder: Path, **changes: object) -> Campaign:
    path = folder / "campaign.json"
    path.write_text(json.dumps({**SPRING, **changes}), encoding="utf-8")
    return read_campaign(path)


def holds(flown: Flown) -> None:
    """Asserts what holds of every flight."""
    assert flown.charged <= flown.campaign.total_budget
    assert flown.n_shown + flown.reasons.total() == flown.n_auctions
    charged = [one.charged for one in flown.hours]
    assert charged == sorted(charged)
    planned = [one.planned for one in flown.hours if one.planned is not None]
    assert planned == sorted(planned)


def test_flight_on_the_market_spends_its_budget_along_its_plan(world: World, tmp_path: Path) -> None:
    flown = fly(on_market(campaign(tmp_path), world, 0))
    holds(flown)
    assert flown.charged > 0.97 * flown.campaign.total_budget
    assert flown.n_billed == flown.n_shown, "an impression is charged as it is seen"
    off = [abs(one.charged - (one.planned or 0)) for one in flown.hours]
    assert max(off) < 0.12 * flown.campaign.total_budget
    assert flown.expected.total == flown.campaign.total_budget
    assert flown.expected.low is not None
    again = fly(on_market(campaign(tmp_path), world, 0))
    assert (again.charged, again.reasons) == (flown.charged, flown.reasons)


@pytest.mark.parametrize(("bid_type", "bid"), [("cpc", 0.2), ("cpa", 2)])
def test_flight_by_click_or_conversion_is_charged_for_those_alone(
    world: World, tmp_path: Path, bid_type: str, bid: float
) -> None:
    flown = fly(on_market(campaign(tmp_path, bid_type=bid_type, bid=bid), world, 0))
    holds(flown)
    assert 0 < flown.n_billed < flown.n_shown / 2
    assert flown.charged <= flown.n_billed * bid * EURO


def test_targeting_and_caps_are_kept_and_told(world: World, tmp_path: Path) -> None:
    booked = campaign(tmp_path, targeting={"devices": ["phone"]}, total_budget=50, bid=40)
    capped = replace(
        booked, frequency_caps=(FrequencyCap(per=CapScope.campaign, limit=1, window_s=90 * DAY),)
    )
    free, once = fly(on_market(booked, world, 0)), fly(on_market(capped, world, 0))
    holds(once)
    assert once.reasons["devices"] == free.reasons["devices"] > 0
    assert once.n_shown <= MARKET.n_users < free.n_shown
    assert once.reasons["capped"] == free.n_shown - once.n_shown


def test_budget_of_a_day_is_never_passed(world: World, tmp_path: Path) -> None:
    booked = campaign(tmp_path, daily_budget=0.02, timezone="America/St_Johns", bid=40)
    flown = fly(on_market(booked, world, 0))
    holds(flown)
    # Fourteen days touch fifteen of a zone that is not the market's.
    assert 0.2 * EURO < flown.charged <= 15 * 0.02 * EURO


def test_flight_at_another_time_is_laid_over_the_last_weeks_on_the_same_weekdays(
    world: World, tmp_path: Path
) -> None:
    later = campaign(tmp_path, starts=SPRING["starts"] + 700 * DAY, ends=SPRING["ends"] + 700 * DAY)  # type: ignore[operator]
    source = on_market(later, world, 0)
    assert (source.campaign.starts, source.campaign.ends) == (SPRING["starts"], SPRING["ends"])
    assert source.during.second.min() >= source.campaign.starts > source.before.second.max()
    with pytest.raises(ConfigError, match="may last 28 days"):
        on_market(campaign(tmp_path, ends=SPRING["starts"] + 30 * DAY), world, 0)  # type: ignore[operator]
    with pytest.raises(DataError, match="nowhere"):
        on_market(campaign(tmp_path, creatives=[{"item_id": "nowhere"}]), world, 0)


def write_stream(path: Path, n: int = 4_000) -> Path:
    rng = np.random.default_rng(0)
    clicked, price = rng.random(n) < 0.02, rng.integers(10, 200, n)
    with gzip.open(path, "wt") as lines:
        lines.writelines(f"{int(c)} {p} 0.02\n" for c, p in zip(clicked, price, strict=True))
    return path


def test_flight_on_a_stream_of_auctions(tmp_path: Path) -> None:
    path = write_stream(tmp_path / "stream.txt.gz")
    flown = fly(on_stream(campaign(tmp_path, total_budget=1, bid=2), path, 10_000))
    holds(flown)
    assert flown.n_auctions == 3_600
    assert flown.charged > 0.98 * EURO
    with pytest.raises(DataError, match="conversions"):
        on_stream(campaign(tmp_path, bid_type="cpa"), path, 10_000)
    for said in ("1 2\n" * 20, "1 2 x\n" * 20, "1 2 0.5\n", "1 2 7\n" * 20, "1 nan 0.5\n" * 20):
        (tmp_path / "wrong.txt").write_text(said)
        with pytest.raises(DataError, match="clicked price probability"):
            on_stream(campaign(tmp_path), tmp_path / "wrong.txt", 10_000)


def test_flight_on_the_log_of_a_service(tmp_path: Path) -> None:
    home = publish_tiny(tmp_path / "bundles")
    service = AdService(home, tmp_path, "{first: 1, every: 9, floor: 500000}")
    service.book(booking("rival", bid=3 * EURO))
    service.warm(k=4)
    for _ in range(39):
        service.now += 60
        service.ask(k=4)
    service.written()
    mine = booking("mine", creatives=(Creative(item_id="i016"),), total_budget=EURO, bid=4 * EURO)
    flown = fly(on_log(mine, str(tmp_path / "events"), "", 0))
    holds(flown)
    # The rival's three euros a thousand is the price of each.
    assert flown.charged == 3_000 * flown.n_billed > 0
    assert fly(on_log(replace(mine, bid=2 * EURO), str(tmp_path / "events"), "", 0)).n_shown <= 1
    elsewhere = replace(mine, targeting=Targeting(devices=("phone",)))
    assert fly(on_log(elsewhere, str(tmp_path / "events"), "", 0)).reasons["devices"] == flown.n_auctions
    with pytest.raises(DataError, match="how probable"):
        on_log(replace(mine, bid_type=BidType.cpc), str(tmp_path / "events"), "", 0)
    with pytest.raises(ConfigError, match="log must be"):
        on_log(mine, str(tmp_path / "nowhere"), "", 0)


def test_one_budget_is_divided_so_that_the_better_places_are_bought_first(tmp_path: Path) -> None:
    path = write_stream(tmp_path / "stream.txt.gz")
    good = on_stream(campaign(tmp_path, campaign_id="good", bid_type="cpc", bid=1), path, 10_000)

    def worse(rows: Auctions) -> Auctions:
        return replace(rows, probability=rows.probability / 4)

    named = replace(good.campaign, campaign_id="worse")
    other = Source(named, worse(good.before), worse(good.during), "")
    flights, shares = divide([good, other], EURO)
    assert sum(one.spend for one in shares.values()) == pytest.approx(EURO)
    assert shares["good"].spend > 3 * shares["worse"].spend
    assert shares["good"].results > shares["worse"].results
    assert sum(one.campaign.total_budget for one in flights) <= EURO
    with pytest.raises(DataError, match="one kind of event"):
        divide([good, replace(other, campaign=replace(named, bid_type=BidType.cpm))], EURO)


def test_command_writes_a_page_with_everything(tmp_path: Path) -> None:
    files = []
    for name in ("spring", "sale"):
        files.append(str(tmp_path / f"{name}.json"))
        said = {**SPRING, "campaign_id": name, "total_budget": 1, "bid": 3}
        Path(files[-1]).write_text(json.dumps(said), encoding="utf-8")
    data = DataConfig(name="none", root=str(tmp_path), events=TableConfig(path="e"))
    stream = str(write_stream(tmp_path / "s.txt.gz"))
    config = SimulateConfig(data=data, flights=files, stream=stream, budget=0.5, out=str(tmp_path / "out"))
    console = Console(record=True, width=300)
    fly_campaigns(config, console)
    told = console.export_text()
    assert "spring gets" in told
    facts = json.loads((tmp_path / "out" / "flights.json").read_text())
    assert [one["campaign_id"] for one in facts["flights"]] == ["spring", "sale"]
    assert sum(one["charged"] for one in facts["flights"]) <= 0.5
    assert facts["flights"][0]["hours"][-1]["planned"] == pytest.approx(facts["flights"][0]["budget"])
    page = (tmp_path / "out" / "flights.html").read_text()
    assert page.count("<svg") == 2
    assert "One budget, divided" in (tmp_path / "out" / "flights.md").read_text()


def test_what_cannot_be_flown_is_refused(tmp_path: Path) -> None:
    data = DataConfig(name="none", root=str(tmp_path), events=TableConfig(path="e"))
    for wrong in (
        {"stream": "a", "log": "b", "flights": ["c"]},
        {"log": "b"},
        {"price_unit": 0},
        {"budget": -1},
    ):
        with pytest.raises(ConfigError):
            SimulateConfig(data=data, **{"flights": ["c"] if "budget" in wrong else [], **wrong})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="declares no market"):
        fly_campaigns(SimulateConfig(data=data, flights=[str(write_campaign(tmp_path))]), Console(quiet=True))
    with pytest.raises(CampaignError, match="ends must be after"):
        campaign(tmp_path, ends=5)
    with pytest.raises(ConfigError, match="must name files"):
        read_campaign(tmp_path / "nowhere.json")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ConfigError, match="fields of one campaign"):
        read_campaign(tmp_path / "list.yaml")


def test_commands_of_the_page_on_campaigns_fly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = AdService(publish_tiny(tmp_path / "bundles"), tmp_path, "{first: 1, every: 9, floor: 500000}")
    service.book(booking("rival", bid=3 * EURO))
    for _ in range(20):
        service.now += 60
        service.ask(k=4)
        service.paces.solve()
    service.written()
    monkeypatch.chdir(tmp_path)
    write_stream(tmp_path / "auctions.txt.gz")
    for name in ("campaign", "sale"):
        said = {**SPRING, "campaign_id": name, "bid": 3}
        (tmp_path / f"{name}.json").write_text(json.dumps(said), encoding="utf-8")
    typed = [
        words
        for block in blocks("docs/operating/campaigns.md", "sh")
        for words in commands(block)
        if words[0] == "python"
    ]
    assert len(typed) == 4
    small = [f"data.world.{name}={getattr(MARKET, name)}" for name in ("seed", "n_days", "n_users", "n_ads")]
    sizes = [*small, "data.world.n_campaigns=4", "data.world.n_advertisers=2"]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        for words in typed:
            assert words[:3] == ["python", "-m", "training.simulate"]
            composed = compose("simulate", overrides=[*words[3:], *sizes])
            (tmp_path / "evidence").mkdir(exist_ok=True)
            fly_campaigns(as_object(composed, SimulateConfig), Console(quiet=True))
            facts = json.loads((tmp_path / "evidence" / "flights" / "flights.json").read_text())
            assert len(facts["flights"]) == (2 if "budget=500" in words else 1)
            assert facts["flights"][0]["shown"] > 0


def write_campaign(folder: Path) -> Path:
    campaign(folder)
    return folder / "campaign.json"
