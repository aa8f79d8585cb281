"""How much may be known of the user of a bid request: the strictest of all that its fields say.

An exchange that is between two versions fills a field at its old place (`ext`) and at its new one, and not
always alike: both are read. What cannot be read counts as no consent.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from marquee.ads.openrtb.consent_strings import (
    TCF_EUROPE,
    US_CALIFORNIA,
    US_NATIONAL,
    US_PRIVACY,
    read_gpp,
    read_tcf,
    us_privacy_opted_out,
    us_section_opted_out,
)
from marquee.ads.openrtb.messages import BidRequest, Ext
from marquee.store.people.consent import Tier

# Store on a device, make a profile for ads, choose ads by it: TCF's purposes 1, 3 and 4.
_NEEDED_PURPOSES = frozenset((1, 3, 4))
# Said in `gpp_sid` where no section is in force.
_NO_SECTION = -1


class Barrier(StrEnum):
    """The reasons for which nothing of a person may be used."""

    coppa = "coppa"
    do_not_track = "do_not_track"
    gdpr = "gdpr"
    us_privacy = "us_privacy"
    gpp = "gpp"


class Allowed(NamedTuple):
    """The tier that may be used, and every reason why not more."""

    tier: Tier
    barriers: tuple[Barrier, ...]


def allowed_of(request: BidRequest, vendor_id: int | None) -> Allowed:
    """Returns how much of the user of a bid request may be used.

    Args:
        request: As it came.
        vendor_id: Of the operator in the Global Vendor List; without one nobody in Europe can have consented.
    """
    found = tuple(dict.fromkeys(_barriers(request, vendor_id)))
    return Allowed(Tier.none if found else Tier.personal, found)


def _barriers(request: BidRequest, vendor_id: int | None) -> Iterator[Barrier]:
    """Yields each law or wish that bars the use of what is known."""
    regs, device = request.regs, request.device
    if 1 in (regs.coppa, _number(regs.ext, "coppa")):
        yield Barrier.coppa
    if 1 in (device.dnt, device.lmt, _number(device.ext, "dnt"), _number(device.ext, "lmt")):
        yield Barrier.do_not_track
    # A person's own fields at the place where version 2.5 had them.
    strings = [one for one in (request.user.consent, request.user.ext.get("consent")) if one is not None]
    if 1 in (regs.gdpr, _number(regs.ext, "gdpr")) and not _consented(strings, vendor_id):
        yield Barrier.gdpr
    for text in (regs.us_privacy, regs.ext.get("us_privacy")):
        if text is not None and _opted_out_of_sale(text):
            yield Barrier.us_privacy
    yield from _gpp_barriers(request, vendor_id)


def _number(ext: Ext, name: str) -> int | None:
    """Returns a flag of `ext`: 1 for whatever is neither absent nor plainly 0."""
    value = ext.get(name)
    if value is None:
        return None
    return 0 if value in (0, "0") else 1


def _consented(strings: list[object], vendor_id: int | None) -> bool:
    """Returns whether every TCF string allows ads that are chosen by what is known."""
    if not strings or vendor_id is None:
        return False
    try:
        read = [read_tcf(str(one)) for one in strings]
    except ValueError:
        return False
    return all(one.purposes >= _NEEDED_PURPOSES and vendor_id in one.vendors for one in read)


def _opted_out_of_sale(text: object) -> bool:
    """Returns whether a US privacy string bars, or cannot be read."""
    try:
        return us_privacy_opted_out(str(text))
    except ValueError:
        return True


def _gpp_barriers(request: BidRequest, vendor_id: int | None) -> Iterator[Barrier]:
    """Yields a barrier for each section in force that bars or cannot be read."""
    regs = request.regs
    named = [*regs.gpp_sid, *_numbers(regs.ext.get("gpp_sid"))]
    text = regs.gpp if regs.gpp is not None else regs.ext.get("gpp")
    if text is None and not named:
        return
    try:
        sections = read_gpp(str(text or ""))
    except ValueError:
        # Nothing in force is the one thing that needs no string.
        if set(named) != {_NO_SECTION}:
            yield Barrier.gpp
        return
    # An exchange that names none leaves open which hold: then all that are there do.
    for number in named or sections:
        if number != _NO_SECTION and _section_bars(number, sections.get(number), vendor_id):
            yield Barrier.gpp


def _numbers(value: object) -> list[int]:
    """Returns the sections that `ext` names; 0, which nobody can read, for what is no list of numbers."""
    if value is None:
        return []
    return [one if isinstance(one, int) else 0 for one in value] if isinstance(value, list) else [0]


def _section_bars(number: int, text: str | None, vendor_id: int | None) -> bool:
    """Returns whether a section bars, is missing, or is one that is not read here."""
    if text is None:
        return True
    if number == TCF_EUROPE:
        return not _consented([text], vendor_id)
    if number == US_PRIVACY:
        return _opted_out_of_sale(text)
    if number not in (US_NATIONAL, US_CALIFORNIA):
        return True
    try:
        return us_section_opted_out(number, text)
    except ValueError:
        return True
