import json
from dataclasses import replace

import pytest

from marquee.errors import DataError
from marquee.evaluation.analyses.retraining import RetrainingSeries, Spread
from tests.support.report_parts import series

SERIES = series(["first", "second", "third"], [1.0, 2.0, 3.0])


def test_spread_is_that_of_the_retrainings() -> None:
    spread = SERIES.spread("two_tower")  # 0.15, 0.25, 0.35
    expected = Spread(mean=0.25, deviation=0.1, low=0.15, high=0.35)
    for name in ("mean", "deviation", "low", "high"):
        assert getattr(spread, name) == pytest.approx(getattr(expected, name))


def test_a_model_is_beaten_where_the_interval_lies_above_zero() -> None:
    assert SERIES.n_better("popularity") == 3


def test_only_models_of_every_retraining_are_compared() -> None:
    first, second = SERIES.retrainings[:2]
    lacking = replace(second, estimates={"two_tower": second.estimates["two_tower"]})
    assert replace(SERIES, retrainings=(first, lacking)).names == ("two_tower",)


def test_a_series_survives_its_file() -> None:
    written = json.loads(json.dumps(SERIES.to_json_dict(), allow_nan=False))
    assert RetrainingSeries.from_json_dict(written) == SERIES
    assert written["n_better"] == {"popularity": 3}


def test_another_format_is_refused() -> None:
    with pytest.raises(DataError, match="must have format 1, got 0; run them again"):
        RetrainingSeries.from_json_dict({**SERIES.to_json_dict(), "trials_format": 0})


def test_a_series_without_trials_is_refused() -> None:
    with pytest.raises(DataError, match="must hold one or more, got none for 'ndcg@10'"):
        RetrainingSeries("ndcg@10", "two_tower", "", ())


def test_a_misspelt_field_of_a_file_is_named() -> None:
    written = json.loads(json.dumps(SERIES.to_json_dict()))
    written["trials"][1]["n_user"] = written["trials"][1].pop("n_users")
    with pytest.raises(DataError, match=r"missing required field `n_users`.*\[1\]"):
        RetrainingSeries.from_json_dict(written)
