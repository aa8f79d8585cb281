"""The examples in a page of documentation: its fenced blocks, and the commands that stand in them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from tests.support.paths import ROOT

FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
LINK = re.compile(r"!?\[[^\]]+\]\((?P<target>[^)\s]+)\)")
PAGES = (
    "README.md",
    *sorted(
        str(page.relative_to(ROOT))
        for folder in ("docs", "docs/operating", "docs/experiments")
        for page in (ROOT / folder).glob("*.md")
    ),
)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        heading: The heading that it stands under.
        language: The word behind its fence.
        text: What it holds.
    """

    heading: str
    language: str
    text: str


def read_page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf8")


def blocks(name: str, language: str = "", heading: str = "") -> list[Block]:
    """Returns the blocks of a page, of one language and under one heading if these are given."""
    page = read_page(name)
    found = [
        Block(HEADING.findall(FENCE.sub("", page[: match.start()]))[-1], match["language"], match["text"])
        for match in FENCE.finditer(page)
    ]
    return [block for block in found if language in ("", block.language) and heading in ("", block.heading)]


def commands(block: Block) -> Iterator[list[str]]:
    """Yields the words of each command; a quoted argument may go over several lines."""
    pending = ""
    for line in block.text.splitlines(keepends=True):
        pending += line
        try:
            words = shlex.split(pending)
        except ValueError:  # a quotation is still open
            continue
        pending = ""
        if words:
            yield words
    assert not pending, f"a quotation never ends: {pending}"


def table_column(name: str, heading: str, first: str) -> list[str]:
    """Returns the code in the first column of the table under `heading` whose header begins with `first`."""
    section = read_page(name).partition(f"# {heading}\n")[2]
    rows = re.search(rf"^\| {re.escape(first)} \|.*\n\|[-| ]+\n((?:\|.*\n)+)", section, re.MULTILINE)
    assert rows, f"{name} has no table {first!r} under {heading!r}"
    return [code for row in rows[1].splitlines() for code in re.findall(r"`([^`]+)`", row.split("|")[1])]
