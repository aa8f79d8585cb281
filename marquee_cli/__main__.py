"""`marquee <command> key=value …`: overview, help, completion, and the start of a command's module."""

import importlib
import importlib.metadata
import importlib.util
import os
import runpy
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from io import TextIOWrapper

from marquee_cli.commands import COMMANDS, Command

EXIT_USAGE = 2
_HELP = {"-h", "--help"}
_COMPLETION = {"-sc", "--shell-completion", "--shell_completion"}


def overview() -> str:
    """Returns the text that `marquee` prints by itself: a line per command."""
    width = max(map(len, COMMANDS))
    lines = [f"  {command.name:{width}s}  {command.what}" for command in COMMANDS.values()]
    return "\n".join(
        [
            "marquee <command> key=value …",
            "",
            *lines,
            "",
            "What a command takes:     marquee train --help",
            'Completion on TAB (bash): eval "$(marquee -sc install=bash)"',
        ]
    )


def nearest(name: str) -> str:
    """Returns the message about an unknown command, with the commands of similar names."""
    words = f"marquee: there is no command {name!r}"
    close = get_close_matches(name.replace("_", "-"), COMMANDS, n=1)
    return f"{words}; did you mean {close[0]!r}?" if close else f"{words}.\n\n{overview()}"


def start(command: Command, arguments: Sequence[str]) -> int:
    """Starts the module of a command in this process, as `python -m` would; returns the exit status."""
    if command.menu and _HELP & set(arguments) and importlib.util.find_spec("yaml"):
        # The comments of the configs alone: the module would first load torch.
        menu = importlib.import_module("training.cli.menu")
        print(menu.help_text(command.menu, f"marquee {command.name}"))
        return 0
    sys.argv = [f"marquee {command.name}", *arguments]
    try:
        runpy.run_module(command.module, run_name="__main__", alter_sys=True)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in ("marquee", "training", "serving"):
            raise
        print(
            f"marquee {command.name} needs the package {error.name!r}, which is not installed: "
            f"pip install 'marquee[{command.extra}]'",
            file=sys.stderr,
        )
        return EXIT_USAGE
    return 0


def complete(request: str) -> int:
    """Answers Hydra's completion; returns the exit status.

    Args:
        request: `install=<shell>`, `uninstall=<shell>` or `query=<shell>`; for the last one the variable
            `COMP_LINE` holds the line so far.
    """
    line = os.environ.get("COMP_LINE", "")
    words = line.split()
    is_named = len(words) > 2 or (len(words) == 2 and line.endswith(" "))
    if request.startswith("query=") and not is_named:
        print(" ".join(COMMANDS))
        return 0
    command = COMMANDS["train"] if not request.startswith("query=") else COMMANDS.get(words[1])
    if command is None or command.menu is None:
        return 0
    # Hydra strips one word from the line, the name of the program.
    os.environ["COMP_LINE"] = line.replace(words[1], "", 1) if words else ""
    sys.argv = ["marquee", "-sc", request]
    # `alter_sys` would put the module's file in place of the program's name, which the shell completes.
    runpy.run_module(command.module, run_name="__main__")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without UTF-8 lacks some of our characters
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in {*_HELP, "help"}:
        print(overview())
        return 0
    if given[0] == "--version":
        print(f"marquee {importlib.metadata.version('marquee')}")
        return 0
    if given[0] in _COMPLETION and len(given) == 2:
        return complete(given[1])
    command = COMMANDS.get(given[0])
    if command is None:
        print(nearest(given[0]), file=sys.stderr)
        return EXIT_USAGE
    return start(command, given[1:])


if __name__ == "__main__":
    sys.exit(main())
