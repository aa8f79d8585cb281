"""Consent strings as a consent platform writes them, for tests of those who read them."""

import base64
from collections.abc import Mapping, Sequence


def tcf_string(
    purposes: Sequence[int], vendors: Sequence[int], ranges: Sequence[tuple[int, int]] | None = None
) -> str:
    """Returns a TCF string of version 2; vendors one by one, or as ranges."""
    last = max([0, *vendors])
    # Up to the purposes: version, two times, who asked how in which language, versions, flags, features.
    bits = f"{2:06b}" + "0" * (36 + 36 + 12 + 12 + 6 + 12 + 12 + 6 + 1 + 1 + 12)
    bits += _flags(purposes, 24) + "0" * (24 + 1 + 12) + f"{last:016b}"
    if ranges is None:
        bits += "0" + _flags(vendors, last)
    else:
        bits += "1" + f"{len(ranges):012b}"
        for first, end in ranges:
            bits += f"0{first:016b}" if first == end else f"1{first:016b}{end:016b}"
    return _text(bits)


def us_string(notices: int, choices: Sequence[int]) -> str:
    """Returns the core of a US section; a choice is 0 not applicable, 1 opted out, 2 not opted out."""
    return _text(f"{1:06b}" + "01" * notices + "".join(f"{one:02b}" for one in choices) + "0" * 40)


def gpp_string(sections: Mapping[int, str]) -> str:
    """Returns a GPP string of sections by number."""
    header, last = f"{3:06b}{1:06b}{len(sections):012b}", 0
    for number in sorted(sections):
        header += "0" + _fibonacci(number - last)
        last = number
    return "~".join([_text(header), *(sections[number] for number in sorted(sections))])


def _fibonacci(number: int) -> str:
    """Returns a number in Fibonacci coding."""
    steps = [1, 2]
    while steps[-1] <= number:
        steps.append(steps[-1] + steps[-2])
    marks = list[str]()
    for step in reversed([one for one in steps if one <= number]):
        marks.insert(0, "1" if step <= number else "0")
        number -= step if step <= number else 0
    return "".join(marks) + "1"


def _flags(numbers: Sequence[int], last: int) -> str:
    """Returns a bit for each number from 1 to the last."""
    return "".join("1" if number in numbers else "0" for number in range(1, last + 1))


def _text(bits: str) -> str:
    """Returns bits as URL-safe Base64 without padding."""
    whole = bits + "0" * (-len(bits) % 8)
    held = int(whole, 2).to_bytes(len(whole) // 8, "big")
    return base64.urlsafe_b64encode(held).decode().rstrip("=")
