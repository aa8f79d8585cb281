"""The store of rules: the set that holds, and every set that ever held.

```
rule_sets   version, when, whose key, what was added, edited and removed, and the whole set
```

One table is both the set and its audit: the set is the row of the highest version, a change adds a row, and
no statement of ours changes or deletes one; the tables refuse it by a trigger as well. Two stores keep the
same contract, and one test asks both; `opening` chooses.

Reads no clock. A worker asks before each answer, and a set that was put is there at the next answer of every
worker. On one machine a number in shared memory tells that nothing was put since: even the read of one
number from SQLite took an answer 40 µs, for locks and for memory that the model had pushed out of the cache.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from marquee.errors import RulesChangedError
from marquee.store.rules.rule import NO_RULE_SET, Rule, RuleSet, changes_between, plain_rule, rule_of

RowOfSet = tuple[int, int, str, str, str]
"""Version, time in milliseconds, name of the key, JSON of the changes, JSON of the rules."""

RowAfter = Callable[[RowOfSet | None], RowOfSet]
"""Makes the row that follows the latest one, None for none yet; raises RulesChangedError."""


@dataclass(frozen=True, slots=True)
class RuleChange:
    """One row of the audit.

    Attributes:
        rule_set: The set that held from then on, with its version, time and who put it.
        changes: Ids of rules by `added`, `edited` and `removed`.
    """

    rule_set: RuleSet
    changes: Mapping[str, Sequence[str]]


class RuleStore(ABC):
    """The rules, as a process sees them. Every method may be called from several threads at once.

    All raise EventLogFullError where the disk is full and EventLogGoneError where the store cannot be
    reached; a later call tries anew.

    Attributes:
        is_remote: Whether asking takes a network, which may hang.
    """

    is_remote = False

    def __init__(self) -> None:
        self._known: tuple[int | None, RuleSet] = (None, NO_RULE_SET)

    def current(self) -> RuleSet:
        """Returns the set that holds now; the same object until another one does."""
        known_at, known = self._known
        # Before the read: a set that is put during it must make its result look old.
        mark = self._mark()
        if mark is not None and mark == known_at:
            return known
        return self._read(mark)

    def read(self) -> RuleSet:
        """Returns the same by a read of the store, whatever is known: shows whether it can still be read."""
        return self._read(self._mark())

    def _read(self, mark: int | None) -> RuleSet:
        """Reads the set that holds, which is known from then on as long as the mark stays."""
        newest, known = self._newest(), self._known[1]
        if newest != known.version:
            known = self.find(newest) or NO_RULE_SET
        # Without a lock: were an older reading to come last, the next call would see it and read again.
        self._known = mark, known
        return known

    def find(self, version: int) -> RuleSet | None:
        """Returns the set of a version, None if there never was one."""
        rows = self._rows(version, 1)
        return _change_of(rows[0]).rule_set if rows and rows[0][0] == version else None

    def history(self, up_to: int, limit: int) -> list[RuleChange]:
        """Returns the last `limit` changes whose version is at most `up_to`, the latest first."""
        return [_change_of(row) for row in self._rows(up_to, limit)]

    def replace(self, rules: Sequence[Rule], expected: int, changed_by: str, time_ms: int) -> RuleSet:
        """Replaces the whole set, and returns the new one once it is forced to disk.

        Args:
            rules: All of them.
            expected: Version of the set that they are to replace.
            changed_by: Name of the key.
            time_ms: Now, milliseconds since 1970 UTC.

        Raises:
            RulesChangedError: If another set holds; nothing was changed.
        """

        def row_after(held: RowOfSet | None) -> RowOfSet:
            """Returns the row that follows the one that holds; called under the lock of the writers."""
            before = _change_of(held).rule_set if held else NO_RULE_SET
            if before.version != expected:
                raise RulesChangedError(
                    f"the rules are of version {before.version}, got a set that replaces {expected}; read "
                    "them, make the change anew and put it with their version",
                    version=before.version,
                )
            changes = changes_between(before.rules, rules)
            body = [plain_rule(rule) for rule in rules]
            return expected + 1, time_ms, changed_by, _json(changes), _json(body)

        return _change_of(self._append(row_after)).rule_set

    @abstractmethod
    def close(self) -> None:
        """Gives up all connections."""

    def _mark(self) -> int | None:
        """Returns a number that is another one after each set that is put; None if only a read can tell."""
        return None

    @abstractmethod
    def _newest(self) -> int:
        """Returns the highest version, 0 if there is none."""

    @abstractmethod
    def _rows(self, up_to: int, limit: int) -> list[RowOfSet]:
        """Returns the last `limit` rows whose version is at most `up_to`, the latest first."""

    @abstractmethod
    def _append(self, row_after: RowAfter) -> RowOfSet:
        """Adds the row that `row_after` makes of the latest one, while nobody else adds any."""


def row_of_set(version: int, time_ms: int, changed_by: str, changes: str, rules: str) -> RowOfSet:
    """Returns the columns of a row as they are, with their types."""
    return version, time_ms, changed_by, changes, rules


def _json(value: object) -> str:
    """Returns a value as JSON text."""
    return msgspec.json.encode(value).decode()


def _change_of(row: RowOfSet) -> RuleChange:
    """Returns a row of the audit."""
    version, time_ms, changed_by, changes, body = row
    rules = tuple([rule_of(plain) for plain in msgspec.json.decode(body)])
    return RuleChange(RuleSet(version, rules, time_ms, changed_by), msgspec.json.decode(changes))
