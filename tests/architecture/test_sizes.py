"""The size report measures what it says; what it finds is for a reader to judge."""

import ast

from tests.architecture.sizes import (
    Measure,
    measure_classes,
    measure_functions,
    measure_prose,
    prose_lines,
    report_lines,
)
from tests.architecture.sources import Source

CODE = '''
class Shelf:
    def put(self, item, *, row):
        """Puts it there.

        This line does not count.
        """
        place = row
        return place, item
'''
SOURCE = Source("shelf.py", ast.parse(CODE))


def test_function_size_leaves_out_docstring_and_self() -> None:
    measured = {measure.unit: measure.size for measure in measure_functions(SOURCE)}
    assert measured == {"lines": 2, "parameters": 2}


def test_class_size_counts_methods() -> None:
    assert [measure.size for measure in measure_classes(SOURCE)] == [1]


def test_report_lists_only_what_is_beyond_its_budget() -> None:
    files = [Measure("long.py", "lines", 500, 400), Measure("short.py", "lines", 20, 400)]
    lines = report_lines(files, list(measure_functions(SOURCE)) * 2)
    assert lines[0] == "2 files, 520 lines, median 260, 95 % within 476"
    assert lines[2:] == ["  500 lines      (budget 400)  long.py"]


def test_prose_counts_comments_for_readers_and_lines_of_code() -> None:
    text = '"""Says.\n\nMore.\n"""\n\n# Why\n# so.\nX = (\n    1,  # noqa: X\n)\nY = 2  # a trap\n'
    prose = measure_prose(text)
    assert (prose.code_lines, prose.comments, prose.docstrings) == (4, 3, ("Says.",))


def test_prose_names_the_share_of_docstrings_that_name_nothing() -> None:
    vague = measure_prose('def f():\n    """Returns what came."""\n    return 1\n')
    plain = measure_prose('"""Sums."""\n\nX = 1  # one\nY = 2\n')
    comments, docstrings = prose_lines([vague, plain])
    assert comments == "25.0 comments per 100 of 4 lines of code"
    assert docstrings == '50.0 % of 2 docstrings begin "Returns what"'
