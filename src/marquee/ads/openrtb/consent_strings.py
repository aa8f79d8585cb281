"""Reads consent strings: TCF (Europe), US privacy, and GPP, which holds several.

Nothing is believed that cannot be read: every reader raises ValueError, which means "none" to whoever calls.

Source:
    IAB Tech Lab, "Transparency and Consent String with Global Vendor & CMP List Formats", version 2.2;
    "U.S. Privacy String", version 1; "Global Privacy Platform String", version 1, and its sections
    "US National" and "US California", version 1.
"""

from string import ascii_lowercase, ascii_uppercase, digits
from typing import NamedTuple

TCF_EUROPE, US_PRIVACY, US_NATIONAL, US_CALIFORNIA = 2, 6, 7, 8
"""The numbers of the sections of a GPP string that are read here."""

_OPTED_OUT = 1
_GPP_HEADER_TYPE, _GPP_VERSION = 3, 1
_US_PRIVACY_LENGTH = 4
_ALPHABET = ascii_uppercase + ascii_lowercase + digits + "-_"


class _Bits:
    """Reads whole numbers out of URL-safe Base64, the highest bit first.

    Raises:
        ValueError: If it is not Base64.
    """

    def __init__(self, text: str) -> None:
        # By character: a GPP header is filled up to six bits, not to whole bytes.
        numbers = [_ALPHABET.find(character) for character in text.rstrip("=")]
        if -1 in numbers:
            raise ValueError(
                f"a consent string must be URL-safe Base64, got {text[numbers.index(-1)]!r} in it"
            )
        self._bits = "".join(f"{number:06b}" for number in numbers)
        self._at = 0

    def number(self, n_bits: int) -> int:
        """Returns the next number; raises ValueError where the text ends."""
        end = self._at + n_bits
        if end > len(self._bits):
            raise ValueError(f"a consent string must have {end} bits, got {len(self._bits)}")
        found, self._at = int(self._bits[self._at : end], 2), end
        return found

    def skip(self, n_bits: int) -> None:
        """Leaves bits out."""
        self._at += n_bits

    def fibonacci(self) -> int:
        """Returns the next number in Fibonacci coding, which ends with two bits that are set."""
        value, this, following, was_set = 0, 1, 2, False
        while True:
            is_set = bool(self.number(1))
            if is_set and was_set:
                return value
            value += this if is_set else 0
            this, following, was_set = following, this + following, is_set


class TcfConsent(NamedTuple):
    """The choices of a person.

    Attributes:
        purposes: Numbers of the purposes that they consented to, 1 to 24.
        vendors: Numbers of the vendors that they consented to.
    """

    purposes: frozenset[int]
    vendors: frozenset[int]


def read_tcf(text: str) -> TcfConsent:
    """Returns the purposes and vendors of a TCF string of version 2; raises ValueError."""
    bits = _Bits(text.partition(".")[0])  # further parts are of vendors that were shown, and of publishers
    version = bits.number(6)
    if version != 2:
        raise ValueError(f"a TCF string must have version 2, got {version}")
    # When it was made and by whom, then flags of the publisher and special features.
    bits.skip(36 + 36 + 12 + 12 + 6 + 12 + 12 + 6 + 1 + 1 + 12)
    purposes = frozenset(number for number in range(1, 25) if bits.number(1))
    bits.skip(24 + 1 + 12)  # legitimate interests, and of the publisher
    return TcfConsent(purposes, _vendors(bits))


def _vendors(bits: _Bits) -> frozenset[int]:
    """Returns the vendors of a section: one bit each, or ranges."""
    last, is_range = bits.number(16), bits.number(1)
    if not is_range:
        return frozenset(number for number in range(1, last + 1) if bits.number(1))
    found = set[int]()
    for _ in range(bits.number(12)):
        is_several = bits.number(1)
        start = bits.number(16)
        end = bits.number(16) if is_several else start
        if end < start or end > last:
            raise ValueError(f"a range of vendors must end between {start} and {last}, got {end}")
        found.update(range(start, end + 1))
    return frozenset(found)


def us_privacy_opted_out(text: str) -> bool:
    """Returns whether somebody opted out of the sale of their data; raises ValueError."""
    if len(text) != _US_PRIVACY_LENGTH or text[0] != "1" or set(text[1:].upper()) - set("YN-"):
        raise ValueError(f"a US privacy string must be 1 and three of Y, N and -, got {len(text)} characters")
    return text[2].upper() == "Y"


def us_section_opted_out(section: int, text: str) -> bool:
    """Returns whether somebody opted out of sale, sharing or targeted advertising; raises ValueError.

    Args:
        section: `US_NATIONAL` or `US_CALIFORNIA`.
        text: The section; the global control of the browser may follow behind a dot.
    """
    core, _, control = text.partition(".")
    bits = _Bits(core)
    version = bits.number(6)
    if version != 1:
        raise ValueError(f"a US section must have version 1, got {version}")
    n_notices, n_choices = (6, 3) if section == US_NATIONAL else (3, 2)
    bits.skip(2 * n_notices)
    choices = [bits.number(2) for _ in range(n_choices)]
    return _OPTED_OUT in choices or _has_global_control(control)


def _has_global_control(text: str) -> bool:
    """Returns whether the browser said no for all sites; raises ValueError."""
    if not text:
        return False
    bits = _Bits(text)
    # The type of the subsection; 1 is the only one that there is.
    return bits.number(2) == 1 and bool(bits.number(1))


def read_gpp(text: str) -> dict[int, str]:
    """Returns the sections of a GPP string by number; raises ValueError."""
    header, *sections = text.split("~")
    bits = _Bits(header)
    kind, version = bits.number(6), bits.number(6)
    if (kind, version) != (_GPP_HEADER_TYPE, _GPP_VERSION):
        raise ValueError(f"a GPP string must have type 3 and version 1, got {kind} and {version}")
    numbers = _section_numbers(bits)
    if len(numbers) != len(sections):
        raise ValueError(f"a GPP string must have the {len(numbers)} sections it names, got {len(sections)}")
    return dict(zip(numbers, sections, strict=True))


def _section_numbers(bits: _Bits) -> list[int]:
    """Returns the numbers in a header: single ones and ranges, each as the distance to the one before."""
    numbers = list[int]()
    last = 0
    for _ in range(bits.number(12)):
        is_several = bits.number(1)
        start = last + bits.fibonacci()
        last = start + (bits.fibonacci() if is_several else 0)
        # Bounds what a few bytes can ask for; the highest section that exists is below 30.
        if last > 1_000:
            raise ValueError(f"a section of a GPP string must have a number up to 1000, got {last}")
        numbers += range(start, last + 1)
    return numbers
