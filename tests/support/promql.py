"""Plays series against rules of Prometheus: the part of PromQL that our alarms are written in.

Known: selectors with `=`, `!=`, `=~`, ranges in seconds to days, `rate`, `increase`, `sum`, `min` and `max`
with `by`, `absent`, `vector`, `time`, `histogram_quantile`, arithmetic, comparisons and `or`. Anything
else is an error.
Unlike Prometheus a rate is not extrapolated to the edges of its range.
"""

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]
Value = float | Vector

STALE_S = 300.0
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_TOKEN = re.compile(r'\s*("[^"]*"|\d+(?:\.\d+)?[smhd]?|[A-Za-z_:][\w:]*|=~|!=|==|>=|<=|[-+*/><={}()\[\],])')
_AGGREGATIONS: Mapping[str, Callable[[Iterable[float]], float]] = {"sum": sum, "min": min, "max": max}
_OPERATORS: Sequence[Mapping[str, Callable[[float, float], float]]] = (
    {">": operator.gt, "<": operator.lt, "==": operator.eq, ">=": operator.ge, "<=": operator.le},
    {"+": operator.add, "-": operator.sub},
    {"*": operator.mul, "/": lambda one, other: one / other if other else float("nan")},
)


@dataclass(frozen=True)
class Series:
    """One series: its name, its labels, and its value at a time, None while it is not there."""

    name: str
    value: Callable[[float], float | None]
    labels: Mapping[str, str]
    every_s: float = 15.0

    def samples(self, since: float, until: float) -> list[tuple[float, float]]:
        """Returns the scrapes in a range, oldest first."""
        n = int((until - since) / self.every_s)
        times = [until - self.every_s * step for step in range(n, -1, -1)]
        found = [(at, self.value(at)) for at in times]
        return [(at, value) for at, value in found if value is not None]


def evaluate(text: str, series: Sequence[Series], at: float) -> Value:
    """Evaluates an expression at a time."""
    parser = _Parser(text, series, at)
    value = parser.expression()
    assert parser.peek() is None, f"{text!r} goes on with {parser.peek()!r}, which is not known here"
    return value


def fires(text: str, hold_s: float, series: Sequence[Series], until: float) -> bool:
    """Returns whether an alarm fires at a time: its expression has held for so long without a break."""
    times = [until - step for step in range(0, int(hold_s) + 1, 60)]
    return all(isinstance(value := evaluate(text, series, at), dict) and bool(value) for at in times)


class _Parser:
    """Evaluates an expression while it reads it."""

    def __init__(self, text: str, series: Sequence[Series], at: float) -> None:
        self.tokens: list[str] = _TOKEN.findall(text)
        left = _TOKEN.sub("", text).strip()
        assert not left, f"{left!r} of {text!r} is not known here"
        self.series, self.at, self.position = series, at, 0

    def peek(self) -> str | None:
        return self.tokens[self.position] if self.position < len(self.tokens) else None

    def take(self, expected: str | None = None) -> str:
        token = self.tokens[self.position]
        assert expected in (None, token), f"expected {expected!r}, got {token!r}"
        self.position += 1
        return token

    def expression(self) -> Value:
        value = self.level(0)
        while self.peek() == "or":
            self.take()
            other = self.level(0)
            assert isinstance(value, dict), "or joins vectors"
            assert isinstance(other, dict), "or joins vectors"
            value = {**other, **value} if set(other) & set(value) or not value else {**value, **other}
        return value

    def level(self, depth: int) -> Value:
        """Reads operators of one strength."""
        if depth == len(_OPERATORS):
            return self.atom()
        value = self.level(depth + 1)
        while (token := self.peek()) in _OPERATORS[depth]:
            self.take()
            value = _applied(_OPERATORS[depth][token or ""], value, self.level(depth + 1), depth == 0)
        return value

    def atom(self) -> Value:
        token = self.take()
        if token == "(":
            value = self.expression()
            self.take(")")
            return value
        if token[0].isdigit():
            return float(token)
        if token in _AGGREGATIONS:
            return self.aggregation(_AGGREGATIONS[token])
        if self.peek() == "(":
            return self.call(token)
        return {labels: found[-1][1] for labels, found in self.selector(token, STALE_S).items()}

    def aggregation(self, join: Callable[[Iterable[float]], float]) -> Vector:
        by: list[str] = []
        if self.peek() == "by":
            self.take()
            self.take("(")
            while (token := self.take()) != ")":
                by += [token] if token != "," else []
        self.take("(")
        vector = self.expression()
        self.take(")")
        assert isinstance(vector, dict), "an aggregation is over a vector"
        groups: dict[Labels, list[float]] = {}
        for labels, value in vector.items():
            groups.setdefault(frozenset((k, v) for k, v in labels if k in by), []).append(value)
        return {labels: join(values) for labels, values in groups.items()}

    def call(self, name: str) -> Value:
        self.take("(")
        if name == "time":
            value: Value = self.at
        elif name == "vector":
            value = {frozenset(): float(self.take())}
        elif name in ("rate", "increase"):
            value = {
                labels: _increase(found) / ((found[-1][0] - found[0][0]) if name == "rate" else 1.0)
                for labels, found in self.selector(self.take(), None).items()
                if len(found) > 1
            }
        elif name == "absent":
            value = {} if self.expression() else {frozenset(): 1.0}
        else:
            assert name == "histogram_quantile", f"{name} is not known here"
            quantile = float(self.take())
            self.take(",")
            value = _quantile(quantile, self.expression())
        self.take(")")
        return value

    def selector(self, name: str, range_s: float | None) -> dict[Labels, list[tuple[float, float]]]:
        """Reads a selector; returns the samples of each series in its range, or in the last `range_s`."""
        wanted: list[tuple[str, str, str]] = []
        if self.peek() == "{":
            self.take()
            while (token := self.take()) != "}":
                if token != ",":
                    wanted.append((token, self.take(), self.take().strip('"')))
        if range_s is None:
            self.take("[")
            text = self.take()
            range_s = float(text[:-1]) * _SECONDS[text[-1]]
            self.take("]")
        chosen = [one for one in self.series if one.name == name and _matches(one.labels, wanted)]
        found = {frozenset(one.labels.items()): one.samples(self.at - range_s, self.at) for one in chosen}
        return {labels: samples for labels, samples in found.items() if samples}


def _matches(labels: Mapping[str, str], wanted: Iterable[tuple[str, str, str]]) -> bool:
    """Returns whether labels are as a selector wants them."""
    compare: Mapping[str, Callable[[str, str], bool]] = {
        "=": lambda actual, value: actual == value,
        "!=": lambda actual, value: actual != value,
        "=~": lambda actual, value: re.fullmatch(value, actual) is not None,
    }
    return all(compare[how](labels.get(name, ""), value) for name, how, value in wanted)


def _increase(samples: Sequence[tuple[float, float]]) -> float:
    """Returns by how much a counter has risen; one that falls was reset."""
    pairs = pairwise(samples)
    return sum(after - before if after >= before else after for (_, before), (_, after) in pairs)


def _applied(apply: Callable[[float, float], float], one: Value, other: Value, is_filter: bool) -> Value:
    """Returns a binary operation; a comparison keeps the elements for which it holds."""
    if not isinstance(one, dict) and not isinstance(other, dict):
        return float(apply(one, other))
    if isinstance(one, dict):
        pairs = {k: (v, other.get(k) if isinstance(other, dict) else other) for k, v in one.items()}
    else:
        assert isinstance(other, dict), "one side is a vector"
        pairs = {labels: (one, value) for labels, value in other.items()}
    results = {k: (v, apply(v, w)) for k, (v, w) in pairs.items() if w is not None}
    if is_filter:
        return {labels: value for labels, (value, holds) in results.items() if holds}
    return {labels: float(result) for labels, (_, result) in results.items()}


def _quantile(quantile: float, buckets: Value) -> Vector:
    """Returns the quantile of one histogram, interpolated within its bucket."""
    assert isinstance(buckets, dict), "a histogram is a vector"
    counts = sorted((float(dict(labels)["le"].replace("+Inf", "inf")), v) for labels, v in buckets.items())
    if not counts or not counts[-1][1]:
        return {}
    rank, (low, before) = quantile * counts[-1][1], (0.0, 0.0)
    for bound, count in counts:
        if count >= rank:
            share = (rank - before) / (count - before) if count > before else 1.0
            return {frozenset(): low if bound == float("inf") else low + (bound - low) * share}
        low, before = bound, count
    return {}
