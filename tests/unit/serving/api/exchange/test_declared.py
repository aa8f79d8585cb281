"""The declaration of an exchange: read from a file, or refused in words."""

from pathlib import Path
from typing import Any

import pytest

from marquee.errors import ConfigError
from serving.api.exchange.declared import read_exchange
from serving.api.exchange.opening import validate_exchange
from serving.config import Settings
from tests.support.exchange_service import DECLARED, write_declared
from tests.support.markdown import blocks


def test_exchange_needs_the_store_of_campaigns(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="MARQUEE_EXCHANGE needs MARQUEE_EVENTS"):
        validate_exchange(Settings(exchange=str(write_declared(tmp_path)), bundle="b"))
    validate_exchange(Settings(bundle="b"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"first_price_share": 1.5}, "first_price_share must be above 0 and at most 1, got 1.5"),
        ({"first_price_share": float("nan")}, "first_price_share must be above 0"),
        ({"rates": {"USD": 0.0}}, "the rate of USD must be above 0, got 0.0"),
        ({"lapses_s": 0}, "lapses_s must be at least 1, got 0"),
        ({"notices": "ads.example"}, "notices must be the public address"),
        ({"seat": ""}, "seat must name ours"),
        ({"floor": 1}, "unknown field `floor`"),
        ({"creatives": {"i008": {"adomain": ["a.example"]}}}, "needs a banner or a native form"),
        (
            {"creatives": {"i008": DECLARED["creatives"]["i008"] | {"click_probability": 0.0}}},
            "click_probability of creative 'i008' must be above 0",
        ),
    ],
)
def test_declaration_that_cannot_be_is_told_in_words(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match="MARQUEE_EXCHANGE must name a file") as caught:
        read_exchange(str(write_declared(tmp_path, **changes)), "EUR")
    assert message in str(caught.value)


def test_key_of_notices_must_be_a_secret(tmp_path: Path) -> None:
    path = write_declared(tmp_path)
    key = tmp_path / "notices.key"
    key.chmod(0o640)
    with pytest.raises(ConfigError, match="can be read by others than its owner"):
        read_exchange(str(path), "EUR")
    key.chmod(0o600)
    key.write_text("c2hvcnQ=")
    with pytest.raises(ConfigError, match="must hold 32 bytes, got 5"):
        read_exchange(str(path), "EUR")
    key.unlink()
    with pytest.raises(ConfigError, match="must be a file of 32 random bytes"):
        read_exchange(str(path), "EUR")


def test_declaration_of_the_page_can_be_read(tmp_path: Path) -> None:
    write_declared(tmp_path)
    (block,) = blocks("docs/operating/exchange.md", "yaml")
    path = tmp_path / "page.yaml"
    path.write_text(block.text, encoding="utf-8")
    exchange, _ = read_exchange(str(path), "EUR")
    assert set(exchange.creatives) == {"ad-7", "ad-9"}
    assert (exchange.devices[4], exchange.devices[2]) == ("phone", "desktop")
    assert exchange.deals == {"AB-0001": {"spring"}}
