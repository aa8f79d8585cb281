"""Settings: read from the environment, wrong ones stop the start with a message that names them."""

import pytest

from marquee.errors import ConfigError
from serving.config import Settings


def test_settings_come_from_the_environment() -> None:
    settings = Settings.from_environment(
        {"MARQUEE_BUNDLE": "bundles/world", "MARQUEE_MAX_K": "7", "HOME": "x"}
    )
    assert settings.bundle == "bundles/world"
    assert settings.max_k == 7
    assert settings.workers == Settings().workers


def test_unknown_variable_with_our_prefix_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"MARQUEE_MAXK is unknown, expected one of .*MARQUEE_MAX_K"):
        Settings.from_environment({"MARQUEE_MAXK": "7"})


def test_variable_that_is_read_elsewhere_is_left_alone() -> None:
    assert Settings.from_environment({"MARQUEE_DATA": "somewhere"}) == Settings()


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"MARQUEE_WORKERS": "two"}, "MARQUEE_WORKERS must be an integer, got 'two'"),
        ({"MARQUEE_WORKERS": ""}, "MARQUEE_WORKERS must be an integer, got ''"),
        ({"MARQUEE_WORKERS": "0"}, "MARQUEE_WORKERS must be from 1 to 1024, got 0"),
        ({"MARQUEE_DEADLINE_MS": "-5"}, "MARQUEE_DEADLINE_MS must be 1 or more, got -5"),
        (
            {"MARQUEE_MAX_PENDING": "10"},
            r"MARQUEE_MAX_PENDING must be at least MARQUEE_MAX_BATCH \(100\), got 10",
        ),
    ],
)
def test_wrong_value_is_refused_by_name(environment: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Settings.from_environment(environment)
