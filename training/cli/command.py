"""The parts that the commands share: schema, composition, validation, and errors in words.

`@command("publish", PublishConfig)` makes a function of a `PublishConfig` a command: its menu is
`configs/publish.yaml`, its schema the dataclass. Nothing behind it sees Hydra or OmegaConf.
"""

import errno
import functools
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import ParamSpec, TypeVar

import hydra
import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import CompactHydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from marquee.errors import ConfigError, MarqueeError
from training.cli.console import replace_what_streams_cannot_show
from training.cli.menu import CONFIGS, help_text
from training.cli.open_knobs import with_left_open

P = ParamSpec("P")
Schema = TypeVar("Schema")

EXIT_ERROR = 1
# As argparse ends where the command line is wrong.
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

HELP = frozenset({"-h", "--help"})
_FULL_ERROR = "HYDRA_FULL_ERROR"


def command(name: str, schema: type[Schema]) -> Callable[[Callable[[Schema], None]], Callable[[], None]]:
    """Returns the decorator that makes a function of a validated config a command.

    Args:
        name: Of the file in `configs/`, without its ending.
        schema: Dataclass of the whole config; `DictConfig` for a command that needs the config as composed.
    """
    # A search varies the config as composed; `TuneConfig` is registered where it is defined.
    if schema is not DictConfig:
        ConfigStore.instance().store(name=f"{name}_schema", node=schema)
    compose = hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name=name)

    def decorate(function: Callable[[Schema], None]) -> Callable[[], None]:
        def composed(config: DictConfig) -> None:
            function(as_object(config, schema))

        @functools.wraps(function)
        def run() -> None:
            replace_what_streams_cannot_show()
            _require_readable_words()
            # Before Hydra, whose own help composes the whole config.
            if HELP.intersection(sys.argv[1:]):
                print(help_text(name, f"python -m training.{name}"))
                return
            explain_errors(_require_names_of_choices)()
            with _full_errors() as are_asked_for:
                explain = _as_it_is if are_asked_for else explain_errors
                # Within Hydra, which would add words of its own; around it, for what cannot be composed.
                explain(compose(functools.wraps(function)(explain(composed))))()

        return run

    return decorate


def _require_readable_words() -> None:
    """Ends with a message if Python could not read what was typed, or the name of the folder.

    Such bytes reach a program as lone surrogates, and Hydra's grammar, YAML and JSON would each fail on them.
    """
    for text in (*sys.argv[1:], os.getcwd()):
        try:
            text.encode()
        except UnicodeEncodeError:
            shown = text.encode(errors="surrogateescape").decode(errors="replace")
            _end(
                f"ConfigError: {shown!a} is not in the encoding of this locale, "
                f"{sys.getfilesystemencoding()}; set LC_ALL=C.UTF-8 or PYTHONUTF8=1",
                EXIT_USAGE,
            )


def _require_names_of_choices() -> None:
    """Requires a name where a word of the command line chooses a file of `configs/`, as in `ab=hillstrom`.

    Hydra reads `ab=inf`, `model=5` or `model=null` as a number or nothing, and fails on it with a traceback.

    Raises:
        ConfigError: If something else came; the message has the names that there are.
    """
    for word in sys.argv[1:]:
        key, separator, written = word.partition("=")
        group = key.lstrip("+~").partition("@")[0]
        folders = [folder for folder in (CONFIGS, *_config_dirs()) if group and (folder / group).is_dir()]
        if key.startswith("-") or not separator or not folders:
            continue
        try:
            value = OverridesParser.create().parse_override(word).value()
        # Hydra says what is wrong with its grammar, better than we could.
        except CompactHydraException:
            continue
        if not isinstance(value, int | float | None):
            continue
        names = sorted(file.stem for folder in folders for file in (folder / group).glob("*.yaml"))
        raise ConfigError(
            f"{group} must be the name of a choice, got {written}, which is no word; "
            f"there are {', '.join(names)}"
        )


def as_object(config: DictConfig, schema: type[Schema]) -> Schema:
    """Returns a composed config as the dataclass that it must be.

    Raises:
        ConfigError: If a value is missing or has the wrong type; the message names the key.
    """
    if isinstance(config, schema):
        return config
    try:
        resolved = OmegaConf.to_object(with_left_open(config))
    except MissingMandatoryValue as error:
        raise ConfigError(
            f"{error.full_key} must be given, got no value; add {error.full_key}=… to the command"
        ) from error
    # Its own message names a type of OmegaConf's and a line of ours, but not the key that people wrote.
    except OmegaConfBaseException as error:
        raise ConfigError(f"config {error.full_key or '(root)'}: {error}".strip()) from error
    assert isinstance(resolved, schema), f"expected {schema.__name__}, got {type(resolved)}"
    return resolved


def explain_errors(function: Callable[P, None]) -> Callable[P, None]:
    """Returns the function, ending with a message and no traceback where the caller can mend the cause."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        # As a shell has it: 128 and the number of SIGINT.
        except KeyboardInterrupt:
            _end("interrupted before the end", EXIT_INTERRUPTED)
        except CompactHydraException as error:
            _end(_why_not_composed(error), EXIT_USAGE)
        except MarqueeError as error:
            _end(f"{type(error).__name__}: {error}", EXIT_USAGE)
        except yaml.YAMLError as error:
            _end(f"ConfigError: a config file is no YAML: {error}", EXIT_USAGE)
        except OSError as error:  # a disk that is full, a folder that may not be written
            _end(f"{type(error).__name__}: {error}{_room(error)}", EXIT_USAGE)
        except Exception:
            # A fault of ours: the stack is what a report of it needs.
            traceback.print_exc()
            sys.exit(EXIT_ERROR)

    return wrapped


def _room(error: OSError) -> str:
    """Returns the advice for a full disk, of which the system names neither file nor folder."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return ""
    return (
        f"; make room where files are written and in {tempfile.gettempdir()}, then start again; a training "
        "goes on from its last checkpoint with resume=<run folder>"
    )


def _as_it_is(function: Callable[P, None]) -> Callable[P, None]:
    return function


def _end(words: str, status: int) -> None:
    print(words, file=sys.stderr)
    sys.exit(status)


@contextmanager
def _full_errors() -> Iterator[bool]:
    """Makes Hydra raise errors instead of exiting; yields whether the user asked for this as well."""
    before = os.environ.get(_FULL_ERROR)
    os.environ[_FULL_ERROR] = "1"
    try:
        yield before == "1"
    finally:
        # The next command of this process must find what this one found.
        if before is None:
            del os.environ[_FULL_ERROR]
        else:
            os.environ[_FULL_ERROR] = before


def _why_not_composed(error: CompactHydraException) -> str:
    """Returns why a config cannot be composed, and what to do about the two causes that Hydra cannot name."""
    words = str(error)
    if isinstance(error.__cause__, OmegaConfBaseException):
        words += f"\n{error.__cause__}"
    if tuned := re.search(r"In '(tuned/[^']+)'", words):
        words += (
            f"\nconfigs/{tuned[1]}.yaml was found for other parts than those that you name; leave it out "
            "with ~tuned, and give those of its settings that you want to keep"
        )
    if taken := re.search(r"Could not override '([^'@]+)", words):
        # Hydra names the group and not the folder that it took for one.
        for folder in _config_dirs():
            if (folder / taken[1]).is_dir():
                words += (
                    f"\nthe folder {folder / taken[1]} is in the way: Hydra takes a folder beside your YAML "
                    f"files for a group of choices of its name; move {taken[1]}/ elsewhere, or keep the YAML "
                    "files of --config-dir in a folder of their own"
                )
    return words


def _config_dirs() -> list[Path]:
    """Returns the folders that `--config-dir` or `-cd` names on the command line."""
    arguments = sys.argv[1:]
    named = [given.partition("=")[2] for given in arguments if given.startswith("--config-dir=")]
    named += [after for flag, after in pairwise(arguments) if flag in ("--config-dir", "-cd")]
    return [Path(name) for name in named]
