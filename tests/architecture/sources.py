"""The repository as the architecture tests see it: its tracked files, and its modules as syntax trees."""

import ast
import subprocess
from dataclasses import dataclass
from functools import cache

from tests.support.paths import ROOT


@dataclass(frozen=True)
class Source:
    """One Python file of the repository.

    Attributes:
        path: Path relative to the repository, with forward slashes.
        tree: Its syntax tree.
    """

    path: str
    tree: ast.Module


def tracked_files(*patterns: str) -> list[str]:
    """Returns the files that git tracks or would track, relative to the repository, sorted.

    Args:
        *patterns: Git path patterns; none means all files.
    """
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *patterns]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return sorted({name for name in listed.split("\0") if name and (ROOT / name).is_file()})


def read_sources(*folders: str) -> list[Source]:
    """Returns every Python file under `folders`, parsed."""
    return [read_source(name) for name in tracked_files(*(f"{folder}/**.py" for folder in folders))]


@cache
def read_source(name: str) -> Source:
    """Returns one Python file, parsed once per process."""
    return Source(name, ast.parse(read_text(name), name))


def read_text(name: str) -> str:
    """Returns the text of a tracked file; bytes that are not UTF-8 are replaced."""
    return (ROOT / name).read_text(encoding="utf8", errors="replace")


def module_name(path: str) -> str:
    """Returns the import name of a file under src or the root.

    Example:
        >>> module_name("src/marquee/nn/losses.py"), module_name("serving/__init__.py")
        ('marquee.nn.losses', 'serving')
    """
    return path.removeprefix("src/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def called_name(node: ast.AST | None) -> str:
    """Returns the dotted name that a call or expression uses, "" if it has none.

    Example:
        >>> called_name(ast.parse("numpy.random.seed(0)", mode="eval").body)
        'numpy.random.seed'
    """
    if isinstance(node, ast.Call):
        return called_name(node.func)
    if isinstance(node, ast.Attribute):
        return f"{called_name(node.value)}.{node.attr}".lstrip(".")
    return node.id if isinstance(node, ast.Name) else ""
