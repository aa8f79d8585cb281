import json
from typing import Any

import pytest

from marquee.ads.openrtb.privacy import Barrier, allowed_of
from marquee.ads.openrtb.reading import read_bid_request
from marquee.store.people.consent import Tier
from tests.support.openrtb import gpp_string, tcf_string, us_string

VENDOR = 755
YES = tcf_string(purposes=[1, 2, 3, 4, 7], vendors=[12, VENDOR])
AS_RANGES = tcf_string(purposes=[1, 3, 4], vendors=[12, 700, VENDOR], ranges=[(12, 12), (700, VENDOR)])
NO_PROFILE = tcf_string(purposes=[1, 2], vendors=[VENDOR])
OTHER_VENDOR = tcf_string(purposes=[1, 3, 4], vendors=[12])
OPTED_OUT, OPTED_IN = us_string(notices=6, choices=[2, 1, 2]), us_string(notices=6, choices=[2, 2, 2])


def barriers(vendor_id: int | None = VENDOR, **fields: Any) -> list[Barrier]:
    sent = {"id": "r", "imp": [{"id": "1"}]} | fields
    allowed = allowed_of(read_bid_request(json.dumps(sent).encode()), vendor_id)
    assert allowed.tier is (Tier.none if allowed.barriers else Tier.personal)
    return list(allowed.barriers)


@pytest.mark.parametrize("place", ["2.6", "ext"])
def test_each_field_counts_at_its_place_of_either_version(place: str) -> None:
    def said(part: str, **fields: Any) -> dict[str, Any]:
        return {part: fields if place == "2.6" else {"ext": fields}}

    assert barriers(**said("regs", coppa=1)) == [Barrier.coppa]
    assert barriers(**said("device", dnt=1)) == [Barrier.do_not_track]
    assert barriers(**said("device", lmt=1)) == [Barrier.do_not_track]
    assert barriers(**said("regs", gdpr=1)) == [Barrier.gdpr]
    assert barriers(**said("regs", gdpr=1), **said("user", consent=YES)) == []
    assert barriers(**said("regs", us_privacy="1YYN")) == [Barrier.us_privacy]
    assert barriers(**said("regs", us_privacy="1YNN")) == []
    assert barriers(**said("regs", gpp=gpp_string({7: OPTED_OUT}), gpp_sid=[7])) == [Barrier.gpp]
    assert barriers(**said("regs", gpp=gpp_string({7: OPTED_IN}), gpp_sid=[7])) == []


def test_nothing_said_bars_nothing() -> None:
    assert barriers() == []
    assert barriers(regs={"gdpr": 0, "coppa": 0}, device={"dnt": 0, "lmt": 0}) == []


def test_strictest_of_two_places_holds() -> None:
    assert barriers(regs={"gdpr": 0, "ext": {"gdpr": 1}}) == [Barrier.gdpr]
    assert barriers(regs={"gdpr": 1}, user={"consent": YES, "ext": {"consent": NO_PROFILE}}) == [Barrier.gdpr]
    assert barriers(device={"dnt": 0, "ext": {"dnt": "1"}}) == [Barrier.do_not_track]
    assert barriers(regs={"us_privacy": "1YNN", "ext": {"us_privacy": "1YYN"}}) == [Barrier.us_privacy]
    assert barriers(regs={"gdpr": 1, "coppa": 1, "us_privacy": "?"}) == [
        Barrier.coppa,
        Barrier.gdpr,
        Barrier.us_privacy,
    ]


@pytest.mark.parametrize("consent", [YES, AS_RANGES, f"{YES}.IFoEUQQgAIQ"])
def test_consent_to_the_purposes_and_the_vendor_is_enough(consent: str) -> None:
    assert barriers(regs={"gdpr": 1}, user={"consent": consent}) == []


@pytest.mark.parametrize(
    "consent",
    ["", "gdpr-consent-string", NO_PROFILE, OTHER_VENDOR, YES[:20], "B" + YES[1:], "CÄ"],
)
def test_consent_that_is_missing_or_unreadable_is_none(consent: str) -> None:
    assert barriers(regs={"gdpr": 1}, user={"consent": consent}) == [Barrier.gdpr]


def test_without_a_vendor_number_nobody_in_europe_consented() -> None:
    assert barriers(vendor_id=None, regs={"gdpr": 1}, user={"consent": YES}) == [Barrier.gdpr]


@pytest.mark.parametrize(
    ("gpp", "sections", "is_barred"),
    [
        # As the specification writes them.
        ("DBABMA~CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA", [2], True),
        ("DBABTA~1YNN", [6], False),
        ("DBACNY~CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA~1YNN", [6], False),
        ("DBACNY~CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA~1YNN", [2, 6], True),
        (gpp_string({2: YES, 6: "1YNN"}), [2, 6], False),
        (gpp_string({8: us_string(notices=3, choices=[2, 1])}), [8], True),
        (gpp_string({8: us_string(notices=3, choices=[2, 2])}), [8], False),
        # The browser's own control, behind the core.
        (gpp_string({7: f"{OPTED_IN}.YA"}), [7], True),
        (gpp_string({7: f"{OPTED_IN}.QA"}), [7], False),
        # A section that nobody here reads, one that is not there, and a string that is none.
        (gpp_string({9: OPTED_IN}), [9], True),
        (gpp_string({6: "1YNN"}), [7], True),
        ("DBABTA", [6], True),
        ("", [6], True),
        ("anything", [], True),
        # None is in force.
        ("anything", [-1], False),
        # Which are in force is open: all that are there.
        (gpp_string({6: "1YYN"}), [], True),
        (gpp_string({6: "1YNN"}), [], False),
    ],
)
def test_sections_of_a_gpp_string(gpp: str, sections: list[int], is_barred: bool) -> None:
    assert barriers(regs={"gpp": gpp, "gpp_sid": sections}) == ([Barrier.gpp] if is_barred else [])


def test_section_in_force_without_a_string_bars() -> None:
    assert barriers(regs={"gpp_sid": [7]}) == [Barrier.gpp]
    assert barriers(regs={"ext": {"gpp_sid": "7"}}) == [Barrier.gpp]
