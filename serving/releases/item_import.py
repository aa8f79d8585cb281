"""Puts any number of items, group by group, each line judged by itself.

A group is one change of the live items: one flush to disk, one addition to what answers. A line that
cannot be taken is found by halving its group, so that it costs the others nothing.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from marquee.errors import ItemsFullError
from marquee.store.live_items import LiveItem
from serving.http.errors import Problem, Refusal
from serving.http.lines import Line
from serving.releases.channel import Channel
from serving.releases.item_validation import validate_size
from serving.releases.live_items import LiveItems

MAX_TOLD = 100
"""Most rejected lines, and most names of attributes, of which one import tells."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A line that was not taken.

    Attributes:
        line: Its number in the body.
        refusal: The one that a request with this item alone would get.
    """

    line: int
    refusal: Refusal


@dataclass(slots=True)
class ImportOutcome:
    """The outcome of the lines so far.

    Attributes:
        taken: Lines that were taken, by state.
        rejected: Lines that were not, by the word of the refusal.
        rejected_lines: The first of them.
        unknown_attributes: Lines by attribute that the catalog does not have.
        unread_attributes: Lines by attribute whose value is of another type.
        last_line: Number of the last line of the last group; 0 before the first one.
    """

    taken: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    rejected_lines: list[Rejected] = field(default_factory=list)
    unknown_attributes: Counter[str] = field(default_factory=Counter)
    unread_attributes: Counter[str] = field(default_factory=Counter)
    last_line: int = 0

    def reject(self, lines: Iterable[int], refusal: Refusal) -> None:
        """Counts lines that were not taken."""
        for line in lines:
            self.rejected[refusal.problem.name] += 1
            self.rejected_lines.append(Rejected(line, refusal))

    def keep_first_rejected(self) -> None:
        """Drops the rejected lines beyond those that are told; to be called after each group."""
        # What a group itself cannot take is known later than which of its lines are broken.
        self.rejected_lines.sort(key=lambda one: one.line)
        del self.rejected_lines[MAX_TOLD:]


@dataclass(frozen=True, slots=True)
class _Entry:
    """An item of a group, with the numbers of the lines that say it: the last one counts."""

    item: LiveItem
    lines: tuple[int, ...]


class ItemImport:
    """One import into the items of a channel; used by one thread at a time.

    Args:
        items: What keeps them.
        channel: Whose items.
        read: Returns the item that a line is; raises Refusal if it is none.
        max_line_bytes: Named to callers whose line is longer.
    """

    def __init__(
        self, items: LiveItems, channel: Channel, read: Callable[[bytes], LiveItem], max_line_bytes: int
    ) -> None:
        self.outcome = ImportOutcome()
        self._items = items
        self._channel = channel
        self._read = read
        self._max_line_bytes = max_line_bytes
        self._no_room: Refusal | None = None  # once told, no new item is tried any more
        self._is_disk_full = False

    def apply(self, lines: Sequence[Line]) -> None:
        """Judges lines, and puts the items of those that are good.

        Raises:
            Refusal: If no line at all can be taken: nothing is kept here, or the disk fails. Earlier groups
                stay.
        """
        group: dict[str, _Entry] = {}
        for line in lines:
            try:
                item = self._judged(line)
            except Refusal as refusal:
                self.outcome.reject([line.number], refusal)
                continue
            before = group.get(item.item_id)  # it keeps its place: where room ends, the first ones fit
            group[item.item_id] = _Entry(item, (*(before.lines if before else ()), line.number))
        self._put(list(group.values()))
        # Behind the change: of a group that the disk refused nothing is done.
        self.outcome.last_line = max((line.number for line in lines), default=self.outcome.last_line)
        self.outcome.keep_first_rejected()

    def _judged(self, line: Line) -> LiveItem:
        """Returns the item of a line; raises Refusal if it is none that may be taken."""
        if line.text is None:
            raise Refusal(
                Problem.body_too_large,
                f"a line may have at most {self._max_line_bytes} bytes, got more; shorten its attributes",
            )
        item = self._read(line.text)
        validate_size(item, self._items.limits.max_item_bytes, None)
        return item

    def _put(self, entries: Sequence[_Entry]) -> None:
        """Puts a group; halves it until what cannot be taken stands alone."""
        entries = self._with_room(entries)
        if not entries:
            return
        try:
            change = self._items.put(self._channel, [entry.item for entry in entries])
        except (Refusal, ItemsFullError) as error:
            self._part(entries, error)
            return
        for entry, placed in zip(entries, change.items, strict=True):
            n_lines = len(entry.lines)
            self.outcome.taken[placed.state.value] += n_lines
            _count(self.outcome.unknown_attributes, placed.unknown_attributes, n_lines)
            _count(self.outcome.unread_attributes, placed.unread_attributes, n_lines)

    def _part(self, entries: Sequence[_Entry], error: Refusal | ItemsFullError) -> None:
        """Rejects a lone item that was refused; puts the halves of a larger group."""
        refusal = error if isinstance(error, Refusal) else Refusal(Problem.no_room, str(error))
        if refusal.problem not in {Problem.no_room, Problem.invalid_request}:
            raise refusal
        if refusal is error and refusal.problem is Problem.no_room:
            # The disk is full whatever the item: to try each alone would write to it hundreds of times.
            self._no_room, self._is_disk_full = refusal, True
        elif len(entries) > 1:
            middle = len(entries) // 2
            self._put(entries[:middle])
            self._put(entries[middle:])
            return
        elif refusal.problem is Problem.no_room:
            self._no_room = refusal
        for entry in entries:
            self.outcome.reject(entry.lines, refusal)

    def _with_room(self, entries: Sequence[_Entry]) -> list[_Entry]:
        """Returns the items that may be put; rejects those for which there is no room any more."""
        if self._no_room is None:
            return list(entries)
        # Said anew, an item takes no more of the room for items: changes go on when no new one fits.
        kept = {} if self._is_disk_full else self._items.kept(self._channel)[1]
        fitting = []
        for entry in entries:
            known = kept.get(entry.item.item_id)
            if known is not None and not known.is_withdrawn:
                fitting.append(entry)
            else:
                self.outcome.reject(entry.lines, self._no_room)
        return fitting


def _count(counts: Counter[str], names: Iterable[str], n_lines: int) -> None:
    """Counts lines by attribute, of so many attributes that a caller cannot fill the memory with names."""
    for name in names:
        if name in counts or len(counts) < MAX_TOLD:
            counts[name] += n_lines
