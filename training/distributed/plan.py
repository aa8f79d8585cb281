"""A task of a plan: what is to be done, with which arguments, of which files, and what it writes.

A task travels to another process, or to another machine, as JSON: the name of a function of a module, plain
arguments and paths. Nothing is pickled.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from marquee.errors import ConfigError

# Of a caller, who may hold a list of one kind; and as JSON.
Argument = str | int | float | bool | Sequence[str | int | float] | None
PlainArgument = str | int | float | bool | list[str | int | float] | None
Work = Callable[..., None]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One piece of work, which may be done twice with the same result.

    Attributes:
        name: What progress and errors call it; once in a stage.
        function: Of a module, as `package.module:function`. It is called as
            `function(out, inputs, **arguments)` and writes the file or the folder `out`, which does not exist
            yet. It may print nothing, and may depend on nothing but its arguments and the files it is given.
        arguments: By name; plain values, which become JSON.
        inputs: Files and folders that it reads: those of the caller, results of earlier stages, or files
            within such results.
        output: The file or folder that it makes. Names that begin with a dot are left to the executor there.
        renews: Whether a result that was made of other inputs, or with other arguments, is made again; else
            that is an error, which names what has changed.
    """

    name: str
    function: str
    output: Path
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    inputs: tuple[Path, ...] = ()
    renews: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """The ends of the tasks of a stage.

    Attributes:
        done: Tasks that were done now.
        skipped: Tasks whose results were there.
        retried: Times that a task was given to another process because its own had ended.
    """

    done: int
    skipped: int
    retried: int


def plain(arguments: Mapping[str, Argument]) -> dict[str, PlainArgument]:
    """Returns arguments as JSON gives them back."""
    return {
        name: value if isinstance(value, str | int | float | None) else list(value)
        for name, value in arguments.items()
    }


def find_function(name: str) -> Work:
    """Returns the function that `package.module:function` names.

    Raises:
        ConfigError: If there is no such module or function.
    """
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"the function of a task must be package.module:function, got {name!r}: {error}; where tasks run "
            "on other machines, install the same release there"
        ) from error
    assert callable(found), f"{name} is no function"
    return found  # type: ignore[no-any-return]  # what a module holds has no type
