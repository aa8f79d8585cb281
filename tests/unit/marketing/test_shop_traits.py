"""Value, sentiment and forecast as traits of a declared shop: joined by id, under consent, repeatable."""

from pathlib import Path

import msgspec
import polars as pl
import pytest

from marquee.data.table_config import TableConfig
from marquee.errors import ConfigError, DataError
from marquee.features.sentiment.model import SentimentModel
from marquee.marketing.running import CustomersResult
from tests.support.shop_tables import run_shop, write_feedback, write_purchases


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    write_purchases(folder)
    write_feedback(folder)
    return folder


@pytest.fixture(scope="module")
def shop(folder: Path) -> CustomersResult:
    return run_shop(folder)


def trait_rows(result: CustomersResult, place: int) -> pl.DataFrame:
    values = result.traits[place].values
    assert values is not None
    return values


def test_value_stands_beside_the_right_customer(folder: Path, shop: CustomersResult) -> None:
    assert shop.traits[0].judged.found.basis == "model"
    assert trait_rows(shop, 0)["worth"].is_finite().all()
    # A holdout that may not be missed at all leaves past spend, which everybody can add up.
    found = run_shop(folder, traits={"worth": {"type": "value", "max_miss": 1e-9, "margin": 0.5}})
    assert found.traits[0].judged.found.basis == "past spend"
    assert any("value is past spend, as the holdout" in caution for caution in found.traits[0].cautions)
    assert shop.customers.transactions is not None
    totals = shop.customers.transactions.rows.group_by("user_id").agg(pl.col("value").sum())
    joined = trait_rows(found, 0).join(totals, on="user_id")
    shares = (joined["worth"] / joined["value"]).to_numpy()
    assert joined.height == 700
    assert shares == pytest.approx(shares[0])


def test_return_is_left_out_with_its_value_and_a_purchase_for_nothing_counts(shop: CustomersResult) -> None:
    assert any("value is below 0" in note and "-5 on 2024-03-05" in note for note in shop.customers.notes)
    assert "1 purchases for 0 count as purchases" in shop.traits[0].cautions


def test_sentiment_is_the_mean_of_a_customers_texts_and_its_bad_week_is_said(shop: CustomersResult) -> None:
    mood = trait_rows(shop, 1)
    assert mood["mood"].is_between(0, 1).all()
    assert mood["mood_texts"].sum() == 600
    judged = shop.traits[1].judged
    assert judged.n_labelled == 400
    assert judged.outcome.sources[0].metrics["auc"].mean > 0.95
    assert any("2024-12-16 is worse than before" in caution for caution in shop.traits[1].cautions)


def test_sentiment_of_the_run_scores_the_next_text(shop: CustomersResult) -> None:
    model = msgspec.json.decode(shop.traits[1].files["sentiments/mood.json"], type=SentimentModel)
    good, bad = model.score(["the parcel is great", "the parcel is broken"])
    assert good > 0.5 > bad


def test_forecast_says_nothing_of_single_customers(shop: CustomersResult) -> None:
    sales = shop.traits[2]
    assert sales.values is None
    assert sales.judged.forecast.has_pattern
    # The table ends on a Monday or later; day 6 of each week is a Sunday, on which nothing is sold.
    sundays = (sales.judged.forecast.moments // 86_400 + 3) % 7 == 6
    assert sundays.sum() == 2
    assert sales.judged.forecast.expected[sundays].max() == 0


def test_days_of_a_forecast_are_those_of_its_time_zone(folder: Path) -> None:
    traits = {"sales": {"type": "forecast", "days": 14, "time_zone": "Pacific/Auckland"}}
    ahead = run_shop(folder, traits=traits).traits[0].judged.forecast
    # Noon of UTC is the next day there, in summer and in winter: the day without sales is Monday.
    mondays = (ahead.moments // 86_400 + 3) % 7 == 0
    assert mondays.sum() == 2
    assert ahead.expected[mondays].max() == 0
    assert (ahead.moments % 86_400 == 0).all()


def test_equal_tables_give_equal_values(folder: Path, shop: CustomersResult) -> None:
    again = run_shop(folder)
    assert [trait.version for trait in again.traits] == [trait.version for trait in shop.traits]
    assert trait_rows(again, 0).equals(trait_rows(shop, 0))
    assert again.traits[1].files == shop.traits[1].files


def test_whoever_did_not_agree_has_no_value_and_no_sentiment(folder: Path) -> None:
    lines = ["who,agreed"] + [
        f"c{number:03},{'segment' if number < 100 else 'personal'}" for number in range(700)
    ]
    (folder / "users.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    users = TableConfig(path="users.csv", columns={"user_id": "who"})
    found = run_shop(folder, users=users, consent="agreed")
    for place in (0, 1):
        assert trait_rows(found, place)["user_id"].min() == "c100"
    assert any("neither learned from nor scored" in caution for caution in found.traits[1].cautions)


@pytest.mark.parametrize(
    ("trait", "words"),
    [
        ({"type": "value", "horizon": 90}, "did you mean 'horizon_days'"),
        ({"type": "value", "discount": 2}, "discount must be in"),
        ({"type": "forecast", "by": "month"}, "Invalid enum value 'month'"),
        ({"type": "forecast", "days": 0}, "days must be between 1 and 366"),
        ({"type": "forecast", "time_zone": "Oslo"}, "time_zone must be a name .* got 'Oslo'"),
    ],
)
def test_misspelt_settings_are_named(folder: Path, trait: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        run_shop(folder, traits={"one": trait})


def test_label_that_is_neither_praise_nor_blame_is_named_with_its_row(folder: Path) -> None:
    columns = {"user_id": "who", "text": "comment", "praises": "CAST(stars AS DOUBLE)"}
    declared = {"type": "sentiment", "feedback": {"path": "feedback.csv", "columns": columns}}
    with pytest.raises(DataError, match="praises must be 1 for praise, 0 for blame or empty, got 5 in row"):
        run_shop(folder, traits={"mood": declared})


def test_value_without_purchases_says_what_to_add(folder: Path) -> None:
    (folder / "few.csv").write_text(
        "user_id,age\n" + "".join(f"u{n},{n}\n" for n in range(60)), encoding="utf-8"
    )
    with pytest.raises(ConfigError, match="needs purchases"):
        run_shop(
            folder, users=TableConfig(path="few.csv"), transactions=None, traits={"worth": {"type": "value"}}
        )
