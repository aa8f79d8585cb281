"""How JSON becomes a message: strict, and every refusal names the field.

Knows JSON and types; the limits that an operator sets are applied where a message becomes a request. Of a
key that occurs twice the last counts, which RFC 8259 leaves open and most readers do.
"""

import re
from collections.abc import Callable
from json import loads
from typing import TypeVar

import msgspec

from serving.http.errors import Problem, Refusal

Message = TypeVar("Message")


# Python refuses to read more than 4,300, and 20 are enough for any number of 64 bits.
_MAX_DIGITS = 1_000

Reader = Callable[[bytes | msgspec.Raw], Message]


_WHERE = re.compile(r" - at (?:`key` in )?`\$(?P<path>[^`]*)`$")


_UNKNOWN_FIELD = re.compile(r"^Object contains unknown field `(?P<name>.*)`$", re.DOTALL)


def reader(message: type[Message]) -> "Reader[Message]":
    """Returns a function that reads JSON as `message`.

    It raises Refusal 400 for what is no JSON, and 422 that names the field for JSON that is no such
    message.
    """
    decode = msgspec.json.Decoder(message).decode

    def read(json: bytes | msgspec.Raw) -> Message:
        try:
            return decode(json)
        except msgspec.ValidationError as error:
            raise _refusal_of_validation(str(error)) from None
        except RecursionError:
            raise Refusal(
                Problem.malformed_request,
                f"the body nests too deep in its {len(bytes(json))} bytes; flatten it, requests are flat",
            ) from None
        except ValueError as error:  # msgspec.DecodeError and UnicodeDecodeError
            raise Refusal(
                Problem.malformed_request,
                f"the body must be JSON in UTF-8, got {len(bytes(json))} bytes that are not: "
                f"{shortened(str(error))}; NaN, Infinity and lone surrogates are no JSON",
            ) from None

    return read


def reader_of_rows(message: type[Message]) -> "Reader[Message]":
    """Returns a function that reads as `reader` does, and lets values pass that are no JSON.

    Python, JavaScript and others write `NaN`, `Infinity`, `1e999` and halves of surrogate pairs. Where each
    row of a body is judged by itself, such a value spoils its row, not the body.
    """
    read = reader(message)

    def read_rows(json: bytes | msgspec.Raw) -> Message:
        try:
            return read(json)
        except Refusal as refusal:
            # Only then: the reader of the standard library takes several times as long.
            body = _loosely(bytes(json))
            try:
                return msgspec.convert(body, message)
            except msgspec.ValidationError as error:
                # Also of what is no JSON even so: the first refusal says what is wrong with it.
                if body is None:
                    raise refusal from None
                raise _refusal_of_validation(str(error)) from None

    return read_rows


def _loosely(text: bytes) -> object:
    """Returns JSON read with the values that JSON does not have; None if it is none even so."""
    try:
        # Decoded here: the standard library would guess among encodings.
        return loads(text.decode(), parse_int=_whole)
    except (ValueError, RecursionError):
        return None


def _whole(digits: str) -> int | float:
    """Returns a whole number, infinity if it has more digits than Python reads."""
    # A float: no field of a row takes it, and only that row is rejected.
    return int(digits) if len(digits) <= _MAX_DIGITS else float("inf")


def _refusal_of_validation(problem: str) -> Refusal:
    """Returns the refusal for msgspec's words about a value of the wrong type."""
    path = ""
    where = _WHERE.search(problem)
    if where:
        problem, path = problem[: where.start()], where["path"]
    unknown = _UNKNOWN_FIELD.match(problem)
    if unknown:
        problem, path = "there is no such field", f"{path}.{shortened(unknown['name'])}"
    path = path.removeprefix(".")
    return Refusal(
        Problem.invalid_request,
        f"{path or 'the request'} is not as expected: {shortened(problem)}; /docs.json has every field",
        field=path or None,
    )


def shortened(text: str) -> str:
    """Returns at most as much of a caller's text as is worth repeating."""
    return text if len(text) <= 120 else f"{text[:120]}…"
