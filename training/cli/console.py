"""The console that commands print on: texts of users as they are, on whatever terminal there is.

Paths, ids, columns and values hold brackets and colons; none of them is Rich's markup or an emoji's name.
"""

import sys
from io import TextIOWrapper

from rich.console import Console


def open_console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """Returns a console that prints every text as it is.

    Args:
        stderr: Whether it prints beside the results.
        quiet: Whether it prints nothing.
    """
    replace_what_streams_cannot_show()
    # A path or a command that is broken over lines cannot be copied; tables are printed with soft_wrap=False.
    return Console(stderr=stderr, quiet=quiet, markup=False, emoji=False, highlight=False, soft_wrap=True)


def replace_what_streams_cannot_show() -> None:
    """Makes standard output and error replace characters that their encoding lacks, in place of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a test's or a notebook's stream may be something else
            stream.reconfigure(errors="replace")
