"""The size report measures what it says; what it finds is for a reader to judge."""

import ast

from tests.architecture.sizes import Measure, measure_classes, measure_functions, report_lines
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
    assert lines[0] == "2 files, 520 lines, median 260"
    assert lines[2:] == ["  500 lines      (budget 400)  long.py"]
