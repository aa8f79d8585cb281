"""How JSON becomes a message: strict, and every refusal names the field.

Knows JSON and types; the limits that an operator sets are applied where a message becomes a request. Of a
key that occurs twice the last counts, which RFC 8259 leaves open and most readers do.
"""

import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

from serving.http.errors import Problem, Refusal

Message = TypeVar("Message")


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
