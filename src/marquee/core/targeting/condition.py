"""Conditions on the traits of one customer: the part of SQL that a decision can afford.

```
leaves >= 0.5 AND (segment IN ('champions', 'loyal') OR NOT worth BETWEEN 10 AND 20) AND mood IS NOT NULL
```

The same text means the same in the `where` of an audience, which Polars computes over whole tables; here it
is read once and asked of one customer at a time, without a table. Comparisons, IN, BETWEEN, IS NULL, AND, OR,
NOT and brackets; no functions, no arithmetic. What cannot be told, for a value is missing, is None and not
False: so NOT of it is None too, and neither matches.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import eq, ge, gt, le, lt, ne
from typing import Any, NamedTuple  # values of one kind are compared

from marquee.core.targeting.customer import TraitValue
from marquee.errors import DataError

MAX_LENGTH = 1000
"""Characters of a condition."""

_MAX_DEPTH = 50

Holds = Callable[[Mapping[str, TraitValue]], bool | None]
"""Tells whether a condition holds for a customer, None where that cannot be told."""

_Compare = Callable[[Any, Any], bool]
_Value = Callable[[Mapping[str, TraitValue]], TraitValue]

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<text>'(?:[^']|'')*')"""
    r"""|(?P<quoted>"(?:[^"]|"")+")|(?P<mark><=|>=|<>|!=|=|<|>|\(|\)|,)|(?P<word>[^\W\d]\w*))"""
)
_COMPARISONS: Mapping[str, _Compare] = {
    "=": eq, "!=": ne, "<>": ne, "<": lt, "<=": le, ">": gt, ">=": ge,
}  # fmt: skip
_WORDS = frozenset(("AND", "OR", "NOT", "IN", "BETWEEN", "IS", "NULL", "TRUE", "FALSE"))


class _Token(NamedTuple):
    """A word of a condition: its kind, its meaning, and where it begins."""

    kind: str
    value: TraitValue
    start: int


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that was read.

    Attributes:
        text: As it was written.
        holds: Tells whether it holds for a customer.
        compared: Trait → the kinds of value that it is compared with: `number`, `text` and `flag`.
    """

    text: str
    holds: Holds = field(compare=False, repr=False)
    compared: Mapping[str, frozenset[str]] = field(compare=False, repr=False)


def read_condition(text: str) -> Condition:
    """Returns the condition that a text means.

    Raises:
        DataError: If it is none; the message holds the place.

    Example:
        >>> condition = read_condition("leaves >= 0.5 AND segment = 'loyal'")
        >>> condition.holds({"leaves": 0.7, "segment": "loyal"}), condition.holds({"leaves": None})
        (True, None)
    """
    reader = _Reader(text)
    holds = reader.read()
    return Condition(text, holds, {name: frozenset(kinds) for name, kinds in reader.compared.items()})


def kind_of(value: TraitValue) -> str:
    """Returns the kind of a value: `number`, `text` or `flag`; empty for none.

    Example:
        >>> kind_of(True), kind_of(1), kind_of("a"), kind_of(None)
        ('flag', 'number', 'text', '')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "flag"
    return "text" if isinstance(value, str) else "number"


class _Tokens:
    """The words of a condition, one after the other.

    Args:
        text: The condition.

    Raises:
        DataError: If it holds what is no word of a condition.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[_Token] = []
        self._next = 0
        at, end = 0, len(text.rstrip())
        while at < end:
            found = _TOKEN.match(text, at)
            if found is None:
                raise DataError(
                    "a condition must be made of names, numbers, 'texts' and comparisons, got "
                    f"{text[at:].strip()[:20]!r} in {text!r}; correct it"
                )
            self._tokens.append(_token(found))
            at = found.end()
        self._tokens.append(_Token("end", None, end))

    def peek(self) -> _Token:
        """Returns the next token, which stays the next."""
        return self._tokens[self._next]

    def skip(self) -> None:
        """Passes the next token."""
        self._next += 1

    def take(self, wanted: str) -> bool:
        """Tells whether the next token is a word or mark, and passes it if so."""
        token = self.peek()
        is_it = token.kind in ("mark", "keyword") and token.value == wanted
        self._next += is_it
        return is_it

    def need(self, wanted: str) -> None:
        """Passes a word or mark; raises DataError if another token stands there."""
        if not self.take(wanted):
            raise self.error(wanted)

    def error(self, wanted: str) -> DataError:
        """Returns the error that says what was expected at the next token."""
        rest = self._text[self.peek().start :].strip()[:20] or "the end"
        return DataError(
            f"a condition must go on with {wanted}, got {rest!r} in {self._text!r}; write it as "
            "leaves >= 0.5 AND segment = 'loyal'"
        )


class _Reader:
    """Reads one condition, from its first token to its last.

    Args:
        text: The condition.
    """

    def __init__(self, text: str) -> None:
        if len(text) > MAX_LENGTH:
            raise DataError(
                f"a condition must have at most {MAX_LENGTH} characters, got {len(text)}; shorten it"
            )
        self.compared: dict[str, set[str]] = {}
        self._tokens = _Tokens(text)
        self._depth = 0

    def read(self) -> Holds:
        """Returns the meaning of the whole text."""
        holds = self._any_of()
        if self._tokens.peek().kind != "end":
            raise self._tokens.error("AND, OR or the end")
        return holds

    def _any_of(self) -> Holds:
        """Returns parts joined by OR."""
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise DataError(f"a condition must have at most {_MAX_DEPTH} brackets in brackets; simplify it")
        parts = [self._all_of()]
        while self._tokens.take("OR"):
            parts.append(self._all_of())
        self._depth -= 1
        return parts[0] if len(parts) == 1 else _joined(parts, decisive=True)

    def _all_of(self) -> Holds:
        """Returns parts joined by AND."""
        parts = [self._not()]
        while self._tokens.take("AND"):
            parts.append(self._not())
        return parts[0] if len(parts) == 1 else _joined(parts, decisive=False)

    def _not(self) -> Holds:
        """Returns a part, or its opposite."""
        n_not = 0
        while self._tokens.take("NOT"):
            n_not += 1
        part = self._part()
        return _opposite(part) if n_not % 2 else part

    def _part(self) -> Holds:
        """Returns a condition in brackets, or one comparison."""
        if self._tokens.take("("):
            part = self._any_of()
            self._tokens.need(")")
            return part
        left = self._operand()
        token = self._tokens.peek()
        if token.kind == "mark" and token.value in _COMPARISONS:
            self._tokens.skip()
            return self._compared(_COMPARISONS[str(token.value)], left, self._operand())
        if self._tokens.take("IS"):
            is_not = self._tokens.take("NOT")
            self._tokens.need("NULL")
            return _is_null(left.value, wanted=not is_not)
        is_not = self._tokens.take("NOT")
        if self._tokens.take("IN"):
            part = self._in(left)
        elif self._tokens.take("BETWEEN"):
            part = self._between(left)
        elif is_not or not left.name:
            raise self._tokens.error("IN, BETWEEN or a comparison")
        else:
            return self._flag(left)
        return _opposite(part) if is_not else part

    def _operand(self) -> "_Operand":
        """Returns a trait or a value."""
        token = self._tokens.peek()
        if token.kind == "name":
            self._tokens.skip()
            name = str(token.value)
            self.compared.setdefault(name, set())
            return _Operand(lambda traits: traits.get(name), name)
        return self._literal()

    def _literal(self) -> "_Operand":
        """Returns a value."""
        token = self._tokens.peek()
        if token.kind == "keyword" and token.value in ("TRUE", "FALSE"):
            value: TraitValue = token.value == "TRUE"
        elif token.kind in ("number", "text"):
            value = token.value
        else:
            raise self._tokens.error("a trait, a number or a 'text'")
        self._tokens.skip()
        return _Operand(lambda _traits: value, kind=kind_of(value))

    def _compared(self, compare: _Compare, left: "_Operand", right: "_Operand") -> Holds:
        """Returns a comparison, and notes what is compared with what."""
        for one, other in ((left, right), (right, left)):
            if one.name and other.kind:
                self.compared[one.name].add(other.kind)
        return _comparison(compare, left.value, right.value)

    def _in(self, left: "_Operand") -> Holds:
        """Returns whether a trait has one of some values."""
        self._tokens.need("(")
        parts = [self._compared(eq, left, self._literal())]
        while self._tokens.take(","):
            parts.append(self._compared(eq, left, self._literal()))
        self._tokens.need(")")
        return _joined(parts, decisive=True)

    def _between(self, left: "_Operand") -> Holds:
        """Returns whether a trait is within two bounds, both included."""
        least = self._compared(ge, left, self._operand())
        self._tokens.need("AND")
        return _joined([least, self._compared(le, left, self._operand())], decisive=False)

    def _flag(self, left: "_Operand") -> Holds:
        """Returns a trait that is true or false by itself."""
        self.compared[left.name].add("flag")
        return _comparison(eq, left.value, lambda _traits: True)


class _Operand(NamedTuple):
    """One side of a comparison: how it is had, the trait that it is, or the kind of value."""

    value: _Value
    name: str = ""
    kind: str = ""


def _token(found: "re.Match[str]") -> _Token:
    """Returns the token of a match."""
    kind, written = str(found.lastgroup), found[str(found.lastgroup)]
    start = found.start(kind)
    if kind == "number":
        return _Token(kind, float(written), start)
    if kind == "text":
        return _Token(kind, written[1:-1].replace("''", "'"), start)
    if kind == "quoted":
        return _Token("name", written[1:-1].replace('""', '"'), start)
    if kind == "word":
        return (
            _Token("keyword", written.upper(), start)
            if written.upper() in _WORDS
            else _Token("name", written, start)
        )
    return _Token(kind, written, start)


def _comparison(compare: _Compare, left: _Value, right: _Value) -> Holds:
    """Returns whether two values compare so; None where one is missing, or they are of two kinds."""

    def holds(traits: Mapping[str, TraitValue]) -> bool | None:
        one, other = left(traits), right(traits)
        kind = kind_of(one)
        return compare(one, other) if kind and kind == kind_of(other) else None

    return holds


def _is_null(value: _Value, *, wanted: bool) -> Holds:
    """Returns whether a value is missing, or is not."""
    return lambda traits: (value(traits) is None) is wanted


def _opposite(part: Holds) -> Holds:
    """Returns the opposite of a part."""

    def holds(traits: Mapping[str, TraitValue]) -> bool | None:
        found = part(traits)
        return None if found is None else not found

    return holds


def _joined(parts: list[Holds], *, decisive: bool) -> Holds:
    """Returns parts of which one that is `decisive` decides: True for OR, False for AND."""

    def holds(traits: Mapping[str, TraitValue]) -> bool | None:
        is_unknown = False
        for part in parts:
            found = part(traits)
            if found is decisive:
                return decisive
            is_unknown |= found is None
        return None if is_unknown else not decisive

    return holds
