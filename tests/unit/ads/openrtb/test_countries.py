"""Places of bid requests as campaigns name them."""

import pytest

from marquee.ads.openrtb.countries import place_of
from marquee.ads.openrtb.messages import Geo


@pytest.mark.parametrize(
    ("geo", "place"),
    [
        (None, ""),
        (Geo(), ""),
        (Geo(country="DEU"), "DE"),
        (Geo(country="deu", region="be"), "DE-BE"),
        (Geo(country="USA", region="US-NY"), "US-NY"),
        (Geo(country="CHE"), "CH"),
        (Geo(country="DE", region="BE"), ""),  # two letters are no name of a country here
        (Geo(region="BE"), ""),
    ],
)
def test_place_has_two_letters_and_its_region(geo: Geo | None, place: str) -> None:
    assert place_of(geo) == place
