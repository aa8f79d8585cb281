"""What the commands share: Hydra composes the config, and errors that a person can mend come as words."""

import functools
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

import hydra
from hydra.errors import CompactHydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from marquee.errors import MarqueeError

P = ParamSpec("P")

CONFIGS = Path(__file__).parents[1] / "configs"
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

_FULL_ERROR = "HYDRA_FULL_ERROR"


def command(config_name: str) -> Callable[[Callable[[DictConfig], None]], Callable[[], None]]:
    """Returns what makes a function of a composed config a command of its own.

    Args:
        config_name: Of the file in `configs/`, without its ending.
    """
    compose = hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name=config_name)

    def decorate(function: Callable[[DictConfig], None]) -> Callable[[], None]:
        @functools.wraps(function)
        def run() -> None:
            is_asked_for = _FULL_ERROR in os.environ
            os.environ.setdefault(_FULL_ERROR, "1")  # else Hydra prints what it cannot compose, and ends here

            @functools.wraps(function)
            def composed(config: DictConfig) -> None:
                if not is_asked_for:
                    os.environ.pop(_FULL_ERROR)  # what goes wrong from here on Hydra reports well
                function(config)

            try:
                compose(explain_errors(composed))()
            except CompactHydraException as error:
                if is_asked_for:
                    raise
                print(_in_words(error), file=sys.stderr)
                sys.exit(EXIT_USAGE)
            finally:
                if not is_asked_for:
                    os.environ.pop(_FULL_ERROR, None)

        return run

    return decorate


def _in_words(error: CompactHydraException) -> str:
    """Returns what cannot be composed, and what to do where settings of a data set are in the way."""
    words = str(error)
    if isinstance(error.__cause__, OmegaConfBaseException):
        words += f"\n{error.__cause__}"
    if tuned := re.search(r"In '(tuned/[^']+)'", words):
        words += (
            f"\nconfigs/{tuned[1]}.yaml was found for other parts than those that you name; leave it out "
            "with ~tuned, and give those of its settings that you want to keep"
        )
    return words


def explain_errors(function: Callable[P, None]) -> Callable[P, None]:
    """Returns the function, ending with a message and no traceback where the caller can mend the cause."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except MarqueeError as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            sys.exit(EXIT_USAGE)
        except KeyboardInterrupt:
            print("interrupted before the end", file=sys.stderr)
            sys.exit(EXIT_INTERRUPTED)

    return wrapped
