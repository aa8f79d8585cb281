"""Overwrites what deleted rows have left in a SQLite file.

SQLite overwrites a row that it deletes (`PRAGMA secure_delete`), but not the copies that it has made before:
where a page of a B-tree was parted or joined, its old cells stay behind in the unused room between the
pointers to the cells and the cells. 1 of 50 users was still found in a file of 60,000 events. `VACUUM` would
write the whole file anew, and hold up everybody who writes meanwhile.

```
page of a B-tree   | header | pointers to cells | unused room … | cells, with free blocks between them |
```

The unused room of each page is overwritten in the file itself, below SQLite. This is safe because nothing
else is touched: SQLite never reads that room. It is done under the lock of all writers, after everything that
was written ahead is in the file, and no page of another kind begins as one of a B-tree does as long as the
file has fewer than 2²⁵ pages.

Source:
    SQLite, "Database File Format", sections 1.6 "B-tree Pages" and 1.5 "The Freelist".
"""

import apsw

from marquee.errors import EventLogError
from marquee.store.log.sqlite_file import SqliteFile

# A worker that writes waits for one step at most: 16 MB of pages.
PAGES_PER_STEP = 4_096
# The first byte of other pages is the highest of a page number, and below the smallest of these.
_MAX_PAGES = 2**25
_INTERNAL, _LEAF = (2, 5), (10, 13)
_FILE_HEADER_BYTES, _AT_PAGE_SIZE = 100, 16


def wipe_file(file: SqliteFile) -> bool:
    """Overwrites the unused room of all pages; returns False where readers kept the WAL from ending.

    Raises:
        EventLogError: If the file cannot be read or written.
    """
    first, is_done = 1, False
    while not is_done:
        with file.at_rest() as opened:
            if opened is None:
                return False
            size = int.from_bytes(opened.xRead(2, _AT_PAGE_SIZE))
            # SQLite writes 1 for 65,536, which does not fit into two bytes.
            size = 65_536 if size == 1 else size
            n_pages = opened.xFileSize() // size
            if n_pages >= _MAX_PAGES:
                raise EventLogError(
                    f"a file of the event log must have fewer than {_MAX_PAGES} pages to be wiped, got "
                    f"{n_pages}; close days, or keep the log in PostgreSQL"
                )
            last = min(first + PAGES_PER_STEP - 1, n_pages)
            _wipe_pages(opened, size, first, last)
            first, is_done = last + 1, last >= n_pages
    return True


def unused_room(page: bytes, header: int) -> list[tuple[int, int]]:
    """Returns the parts of a page that hold nothing, as start and end; none if it is of no B-tree.

    Args:
        page: Its bytes.
        header: Where its header begins: 100 on the first page of a file, else 0.
    """
    kind = page[header]
    if kind not in (*_INTERNAL, *_LEAF):
        return []
    n_cells = int.from_bytes(page[header + 3 : header + 5])
    # 0 stands for 65,536: an empty page of that size.
    start_of_cells = int.from_bytes(page[header + 5 : header + 7]) or 65_536
    end_of_pointers = header + (8 if kind in _LEAF else 12) + 2 * n_cells
    parts = [(end_of_pointers, start_of_cells)]
    block = int.from_bytes(page[header + 1 : header + 3])
    while block:
        # The first four bytes of a free block name the next one and its own size.
        following, n_bytes = (
            int.from_bytes(page[block : block + 2]),
            int.from_bytes(page[block + 2 : block + 4]),
        )
        parts.append((block + 4, block + n_bytes))
        # They rise, by the format: a damaged file must not make an endless loop.
        block = following if following > block else 0
    return [(start, end) for start, end in parts if start < end <= len(page)]


def _wipe_pages(file: apsw.VFSFile, size: int, first: int, last: int) -> None:
    """Overwrites the unused room of the pages `first` to `last`, counted from 1."""
    content = file.xRead((last - first + 1) * size, (first - 1) * size)
    for number in range(first, last + 1):
        offset = (number - first) * size
        page = content[offset : offset + size]
        for start, end in unused_room(page, _FILE_HEADER_BYTES if number == 1 else 0):
            # Most room is empty already: only what is not costs a write.
            if page.count(0, start, end) != end - start:
                file.xWrite(bytes(end - start), (number - 1) * size + start)
    file.xSync(apsw.SQLITE_SYNC_NORMAL)
