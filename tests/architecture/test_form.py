"""The library's code keeps its rules of form, whoever writes it."""

import ast
import re

import pytest

from tests.architecture.sources import Source, called_name, read_sources

SPEAKS_OR_EXITS = {"print", "input", "exit", "quit", "sys.exit", "os._exit", "breakpoint"}
READS_THE_CLOCK = {
    *(f"time.{name}" for name in ("time", "time_ns", "localtime", "gmtime", "sleep")),
    *(f"{name}.{verb}" for name in ("datetime", "datetime.datetime") for verb in ("now", "utcnow", "today")),
    "date.today",
    "datetime.date.today",
}
SEEDS_THE_WORLD = {"random.seed", "np.random.seed", "numpy.random.seed", "torch.manual_seed"}
BANNED_NAMES = re.compile(r"^(process|handle|do|manage|check|get)_|^Base[A-Z]|(Manager|Helper|Utils?)$")
CATCHES_ALL = {"Exception", "BaseException"}
NAMES_NOTHING = re.compile(r"(Returns w|W)hat\b")
PICKLES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}


def calls(source: Source) -> list[tuple[str, ast.Call]]:
    """Returns every call in `source` with the name that it calls."""
    return [(called_name(node), node) for node in ast.walk(source.tree) if isinstance(node, ast.Call)]


def places(forbidden: set[str], *folders: str) -> list[str]:
    """Returns where `folders` call one of `forbidden`, as "file:line name"."""
    return [
        f"{source.path}:{node.lineno} {name}"
        for source in read_sources(*folders)
        for name, node in calls(source)
        if name in forbidden
    ]


def public_definitions(source: Source) -> list[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """Returns the public functions and classes of a module, and the public methods of those classes."""
    found: list[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef] = []
    level: list[ast.stmt] = list(source.tree.body)
    for node in level:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if not node.name.startswith("_"):
            found.append(node)
            level += node.body if isinstance(node, ast.ClassDef) else []
    return found


def test_library_never_prints_or_exits() -> None:
    assert not places(SPEAKS_OR_EXITS, "src")


def test_library_never_raises_system_exit() -> None:
    assert not [
        f"{source.path}:{node.lineno}"
        for source in read_sources("src")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Raise) and called_name(node.exc) == "SystemExit"
    ]


def test_library_never_reads_the_clock() -> None:
    assert not places(READS_THE_CLOCK, "src")


def test_library_never_seeds_shared_random_state() -> None:
    assert not places(SEEDS_THE_WORLD, "src")


def test_nothing_is_pickled() -> None:
    imported = [
        f"{source.path}:{node.lineno}"
        for source in read_sources("src", "training", "serving", "demo")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        and {alias.name.partition(".")[0] for alias in node.names} & PICKLES
    ]
    allowed = [
        f"{source.path}:{node.lineno}"
        for source in read_sources("src", "training", "serving", "demo")
        for _, node in calls(source)
        for keyword in node.keywords
        if keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False"
    ]
    assert not imported + allowed


def test_library_never_swallows_every_exception() -> None:
    assert not [
        f"{source.path}:{node.lineno}"
        for source in read_sources("src")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or {called_name(part) for part in ast.walk(node.type)} & CATCHES_ALL)
        and not any(isinstance(part, ast.Raise) for part in ast.walk(node))
    ]


@pytest.mark.parametrize("folder", ["src", "training", "serving", "marquee_cli", "demo", "benchmarks"])
def test_every_public_name_has_a_docstring(folder: str) -> None:
    assert not [
        f"{source.path}:{node.lineno} {node.name}"
        for source in read_sources(folder)
        for node in public_definitions(source)
        if not ast.get_docstring(node) and "override" not in map(called_name, node.decorator_list)
    ]


@pytest.mark.parametrize("folder", ["src", "training", "serving", "marquee_cli", "demo", "benchmarks"])
def test_every_module_says_what_it_decides(folder: str) -> None:
    assert not [source.path for source in read_sources(folder) if not ast.get_docstring(source.tree)]


def test_docstrings_name_the_thing() -> None:
    """A text that begins "What …" or "Returns what …" leaves the reader to find the noun."""
    assert not [
        f"{source.path}:{node.lineno} {node.value.value[:60]}"
        for source in read_sources("src", "training", "serving", "marquee_cli", "demo", "benchmarks", "tests")
        for node in ast.walk(source.tree)
        # An attribute's docstring is an expression as well, which `ast.get_docstring` does not see.
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        and NAMES_NOTHING.match(node.value.value)
    ]


def test_public_names_keep_the_vocabulary() -> None:
    named = [
        (source.path, node.name) for source in read_sources("src") for node in public_definitions(source)
    ]
    assert not [f"{path} {name}" for path, name in named if BANNED_NAMES.search(name)]
