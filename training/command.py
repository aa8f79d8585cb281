"""What the commands share: how an error of ours reaches a person."""

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec

from marquee.errors import MarqueeError

P = ParamSpec("P")

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def explain_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Returns the command, ending with a message and no traceback where the caller can mend the cause."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except MarqueeError as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            sys.exit(EXIT_USAGE)
        except KeyboardInterrupt:
            print("interrupted before the end", file=sys.stderr)
            sys.exit(EXIT_INTERRUPTED)

    return wrapped
