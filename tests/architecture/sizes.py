"""The size budgets as a report: where a reader may want to look twice. A compass, not a gate.

`python -m tests.architecture.sizes` (or `make sizes`) prints the measures of the whole and the outliers.
"""

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from tests.architecture.sources import Source, read_sources, read_text

FILE_LINES = 400
FUNCTION_LINES = 60
PARAMETERS = 7
METHODS = 15


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


def report_lines(files: Sequence[Measure], parts: Sequence[Measure]) -> list[str]:
    """Returns the report: medians and 95th percentiles, then everything beyond its budget, largest first."""
    functions = [measure.size for measure in parts if measure.unit == "lines"]
    lines = [
        f"{len(files)} files, {sum(measure.size for measure in files)} lines, "
        f"median {median(measure.size for measure in files):.0f}",
        f"{len(functions)} functions, median {median(functions):.0f} lines, "
        f"95 % within {quantiles(functions, n=20)[-1]:.0f}",
    ]
    beyond = [measure for measure in [*files, *parts] if measure.size > measure.budget]
    for measure in sorted(beyond, key=lambda measure: measure.size / measure.budget, reverse=True):
        lines.append(f"{measure.size:5d} {measure.unit:10s} (budget {measure.budget:3d})  {measure.place}")
    return lines


def main() -> None:
    """Prints the report for the code that is not a test."""
    sources = read_sources("src", "training", "serving", "demo", "benchmarks")
    files = [
        Measure(source.path, "lines", read_text(source.path).count("\n"), FILE_LINES) for source in sources
    ]
    parts = [part for source in sources for part in (*measure_functions(source), *measure_classes(source))]
    print("\n".join(report_lines(files, parts)))


if __name__ == "__main__":
    main()
