import msgspec
from hypothesis import given

from marquee.ads.filling import Entry, Terms, fill_slots
from marquee.ads.trace import replayed, trace_of
from marquee.store.campaigns.campaign import Exclusions
from tests.unit.ads.test_filling import ENTRIES, TERMS, entry

PLACES = (0, 3, 7)


@given(ENTRIES, TERMS)
def test_trace_gives_the_same_auction_again(entries: list[Entry], terms: Terms) -> None:
    filling = fill_slots(entries, PLACES, terms)
    kept = msgspec.json.decode(msgspec.json.encode(trace_of(entries, PLACES, terms, filling)))
    assert replayed(kept).filled == filling.filled


def test_trace_keeps_exclusions() -> None:
    entries = [entry("a", 5), entry("b", 4, exclusions=Exclusions(advertisers=("by-a",))), entry("c", 3)]
    filling = fill_slots(entries, PLACES, Terms())
    assert [one.entry.item_id for one in filling.filled] == ["a", "c"]
    assert replayed(trace_of(entries, PLACES, Terms(), filling)).filled == filling.filled
