"""Every error tells the reader what came: its message holds the value, not only a rule."""

import ast
import inspect

import pytest

from marquee import errors
from tests.architecture.sources import Source, called_name, read_sources

ERROR_NAMES = {
    name
    for name, value in vars(errors).items()
    if inspect.isclass(value) and issubclass(value, errors.MarqueeError)
}


def raised_calls(source: Source) -> list[ast.Call]:
    """Returns the calls that make the Marquee errors which `source` raises."""
    raised = [node.exc for node in ast.walk(source.tree) if isinstance(node, ast.Raise)]
    return [
        call
        for call in raised
        if isinstance(call, ast.Call) and called_name(call).rpartition(".")[2] in ERROR_NAMES
    ]


def says_what_came(call: ast.Call) -> bool:
    """Returns whether the message interpolates a value, or names the only one possible ("got ''")."""
    parts = [part for argument in call.args[:1] for part in ast.walk(argument)]
    texts = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    named = any("got " in text for text in texts)
    return named or any(isinstance(part, ast.FormattedValue | ast.Name | ast.Call) for part in parts)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("raise DataError('k is wrong')", False),
        ("raise DataError(f'k is wrong')", False),
        ("raise DataError()", False),
        ("raise DataError('id must not be empty, got nothing')", True),
        ("raise DataError(f'k must be 1 or more, got {k}')", True),
    ],
)
def test_rule_tells_what_came_from_mere_words(code: str, expected: bool) -> None:
    (call,) = raised_calls(Source("example.py", ast.parse(code)))
    assert says_what_came(call) is expected


def test_every_raise_of_ours_says_what_came() -> None:
    sources = read_sources("src", "training", "serving")
    found = [(source.path, call) for source in sources for call in raised_calls(source)]
    assert len(found) > 10
    assert not [f"{path}:{call.lineno}" for path, call in found if not says_what_came(call)]


def test_errors_are_raised_by_class_with_a_message() -> None:
    bare = [
        f"{source.path}:{node.lineno}"
        for source in read_sources("src", "training", "serving")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Name) and node.exc.id in ERROR_NAMES
    ]
    assert not bare


def test_every_error_class_stands_in_the_tree_that_is_drawn() -> None:
    drawn = (errors.__doc__ or "").split("```")[1]
    assert not sorted(name for name in ERROR_NAMES if name not in drawn)
