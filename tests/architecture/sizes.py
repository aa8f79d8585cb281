"""The size budgets as a report: where a reader may want to look twice. A compass, not a gate.

`python -m tests.architecture.sizes` (or `make sizes`) prints the measures of the whole and the outliers.
"""

import ast
import io
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from tests.architecture.sources import Source, read_sources, read_text

FILE_LINES = 400
FUNCTION_LINES = 60
PARAMETERS = 7
METHODS = 15
ROOTS = ("src", "training", "serving", "marquee_cli", "demo", "benchmarks")
TO_TOOLS = ("# noqa", "# type: ignore", "# pragma", "# codespell")
LAYOUT = {
    tokenize.NEWLINE,
    tokenize.NL,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


@dataclass(frozen=True)
class Measure:
    """One size of one place, in lines, parameters or methods."""

    place: str
    unit: str
    size: int
    budget: int


def measure_functions(source: Source) -> Iterator[Measure]:
    """Yields lines without docstring, and parameters without self, of every function in `source`."""
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        place = f"{source.path}:{node.lineno} {node.name}"
        body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
        names = [argument.arg for argument in [*node.args.args, *node.args.kwonlyargs]]
        yield Measure(place, "lines", (node.end_lineno or 0) - body[0].lineno + 1, FUNCTION_LINES)
        n_parameters = len([name for name in names if name not in {"self", "cls"}])
        yield Measure(place, "parameters", n_parameters, PARAMETERS)


def measure_classes(source: Source) -> Iterator[Measure]:
    """Yields the number of methods of every class in `source`."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ClassDef):
            methods = [part for part in node.body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)]
            yield Measure(f"{source.path}:{node.lineno} {node.name}", "methods", len(methods), METHODS)


@dataclass(frozen=True)
class Prose:
    """How much of a file is said to readers, and in which way.

    Attributes:
        code_lines: Lines that hold code: neither blank, nor docstring, nor comment alone.
        comments: Lines with a comment; those to tools (`noqa`, `type: ignore`) do not count.
        docstrings: First line of each docstring.
    """

    code_lines: int
    comments: int
    docstrings: tuple[str, ...]


def measure_prose(text: str) -> Prose:
    """Counts code, comments and docstrings of a module."""
    docstrings, in_docstring = [], set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            said = ast.get_docstring(node)
            if said:
                docstrings.append(said.partition("\n")[0])
                in_docstring |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    code_lines, comments = set(), 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        line = token.start[0]
        if token.type == tokenize.COMMENT:
            comments += not token.string.startswith(TO_TOOLS)
        elif token.type not in LAYOUT and line not in in_docstring:
            code_lines |= set(range(line, token.end[0] + 1))
    return Prose(len(code_lines), comments, tuple(docstrings))


def prose_lines(prose: Sequence[Prose]) -> list[str]:
    """Returns comments per 100 lines of code, and the share of docstrings that begin "Returns what"."""
    code, comments = sum(one.code_lines for one in prose), sum(one.comments for one in prose)
    docstrings = [first for one in prose for first in one.docstrings]
    vague = sum(first.startswith("Returns what") for first in docstrings)
    return [
        f"{100 * comments / code:.1f} comments per 100 of {code} lines of code",
        f'{100 * vague / len(docstrings):.1f} % of {len(docstrings)} docstrings begin "Returns what"',
    ]


def report_lines(files: Sequence[Measure], parts: Sequence[Measure]) -> list[str]:
    """Returns the report: medians and 95th percentiles, then everything beyond its budget, largest first."""
    functions = [measure.size for measure in parts if measure.unit == "lines"]
    sizes = [measure.size for measure in files]
    lines = [
        f"{len(files)} files, {sum(sizes)} lines, median {median(sizes):.0f}, "
        f"95 % within {quantiles(sizes, n=20, method='inclusive')[-1]:.0f}",
        f"{len(functions)} functions, median {median(functions):.0f} lines, "
        f"95 % within {quantiles(functions, n=20, method='inclusive')[-1]:.0f}",
    ]
    beyond = [measure for measure in [*files, *parts] if measure.size > measure.budget]
    for measure in sorted(beyond, key=lambda measure: measure.size / measure.budget, reverse=True):
        lines.append(f"{measure.size:5d} {measure.unit:10s} (budget {measure.budget:3d})  {measure.place}")
    return lines


def main() -> None:
    """Prints the report for the code that is not a test."""
    sources = read_sources(*ROOTS)
    files = [
        Measure(source.path, "lines", read_text(source.path).count("\n"), FILE_LINES) for source in sources
    ]
    parts = [part for source in sources for part in (*measure_functions(source), *measure_classes(source))]
    summary, outliers = report_lines(files, parts)[:2], report_lines(files, parts)[2:]
    prose = {
        root: [measure_prose(read_text(source.path)) for source in sources if source.path.startswith(root)]
        for root in ROOTS
    }
    print("\n".join([*summary, *prose_lines([one for of_root in prose.values() for one in of_root])]))
    for root, of_root in prose.items():
        comments, _ = prose_lines(of_root)
        print(f"      {root}: {comments}")
    print("\n".join(outliers))


if __name__ == "__main__":
    main()
