"""The user's SQL expressions over the columns of a file, as Polars computes them.

A column of the file is a column, also where SQL has a word of that name. An expression says something of its
own row alone: what needs other rows, the clock or chance is refused.
"""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache

import polars as pl

from marquee.data.reading.files.columns import FAULT, ROW
from marquee.data.reading.sources import Source
from marquee.errors import ConfigError, MissingColumnError

_TOKEN = re.compile(
    r"""'(?:[^']|'')*'|"(?P<called>\w+)"(?=\s*\()|"(?:[^"]|"")*"|(?P<word>[^\W\d]\w*)(?P<call>\s*\()?"""
)
_WINDOW = re.compile(r"\)\s*over\b", re.IGNORECASE)
_TREE = re.compile(r"\{.*\}|(?<=\w)\(.*\w \{.*", re.DOTALL)  # how the parser prints its own objects
_NAME = re.compile(r"[^\W\d]\w*")
_CLOCK = frozenset(
    """current_date current_time current_timestamp localtime localtimestamp now today random
    rand""".split()  # noqa: SIM905  # as below
)
_AGGREGATES = frozenset(
    """array_agg avg corr count covar covar_pop covar_samp first group_concat last listagg max median min
    quantile_cont quantile_disc stddev stddev_samp stdev stdev_samp string_agg sum var var_samp
    variance""".split()  # noqa: SIM905  # a list of them would be a page
)
_SEPARATORS = (",", ";", "\t", "|", " ")


def parse(text: str, source: Source, key: str) -> pl.Expr:
    """Returns the expression that a text means: a column of the file, or else SQL over its columns.

    Args:
        text: What the user wrote.
        source: The file.
        key: Where it stands in the config, for messages.

    Raises:
        MissingColumnError: If the file lacks a column that the expression names.
        ConfigError: If the text is no SQL, or needs more than its own row.
    """
    # Before SQL: the name of a column may hold blanks, or be a word of SQL.
    if text in source.columns:
        return pl.col(text)
    if _NAME.fullmatch(text) and text.lower() not in _CLOCK | {"null", "true", "false"}:
        require([text], source, key)
    _refuse_clock(text, source, key)
    _refuse_aggregates(text, source, key)
    expression = _parsed(text, source, key)
    require(_roots(expression), source, key)
    _require_fields(expression, text, source, key)
    return expression


def require(names: Iterable[str], source: Source, key: str) -> None:
    """Raises MissingColumnError unless the file has all the columns."""
    for name in names:
        if name not in source.columns:
            near = get_close_matches(name, source.columns, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise MissingColumnError(
                f"{source.path} has no column {name!r}, it has {list(source.columns)}; correct {key}{hint}"
                f"{header_hint(source)}"
            )


def header_hint(source: Source) -> str:
    """Returns a hint on the separator where the header is one long name; else an empty text."""
    (only, *others) = source.columns or [""]
    found = [mark for mark in _SEPARATORS if mark in only]
    if others or not source.is_text or not found:
        return ""
    return f"; is the separator right? It may be {found[0]!r}, or lines stand before the header (skip_rows)"


def _parsed(text: str, source: Source, key: str) -> pl.Expr:
    """Returns a text as SQL, read with the file's columns quoted where SQL has such a word of its own."""
    quoted = _TOKEN.sub(lambda token: _quoted(token, source), text)
    reasons: list[Exception] = []
    for attempt in dict.fromkeys((quoted, text)):
        try:
            expression = pl.sql_expr(attempt)
        except (pl.exceptions.PolarsError, TypeError) as error:
            reasons.append(error)
            continue
        if expression.meta.has_multiple_outputs():
            raise ConfigError(f"{key} must be one column, got {text!r}, which is several; name one of them")
        return expression
    # The first reason is of the text whose columns are known to be columns.
    words = _TREE.sub("…", str(reasons[0]).splitlines()[0])
    raise ConfigError(
        f"{key} is neither a column of {source.path} nor SQL, got {text!r}: {words}. The file has "
        f"{list(source.columns)}; a name with blanks, or one that is a word of SQL too, stands in double "
        f"quotes, a text in single ones{header_hint(source)}"
    ) from reasons[0]


def _quoted(token: re.Match[str], source: Source) -> str:
    """Returns a token of SQL, in double quotes if it is a column that SQL would take for its own word."""
    word = token["word"]
    if not word or token["call"] or word not in source.columns or not _needs_quotes(word):
        return token[0]
    return f'"{word}"'


@cache
def _needs_quotes(word: str) -> bool:
    """Returns whether SQL takes a word for something else than a column."""
    try:
        expression = pl.sql_expr(word)
        pl.sql_expr(f"LOWER({word})")  # `all` and `distinct` are words of SQL only there
    except (pl.exceptions.PolarsError, TypeError):
        return True
    return not expression.meta.is_column() or expression.meta.root_names() != [word]


def _refuse_clock(text: str, source: Source, key: str) -> None:
    """Raises ConfigError if an expression asks for the time of day or for chance."""
    for token in _TOKEN.finditer(text):
        word = token["word"]
        if not word or word.lower() not in _CLOCK or (word in source.columns and not token["call"]):
            continue
        raise ConfigError(
            f"{key} must give the same table on every day, got {text!r} with {word!r}; write a moment such "
            f"as '2025-03-01' in its place. If {word!r} is a column, {source.path} lacks it: it has "
            f"{list(source.columns)}"
        )


def _refuse_aggregates(text: str, source: Source, key: str) -> None:
    """Raises ConfigError if an expression gives every row a total of all rows."""
    tokens = list(_TOKEN.finditer(text))
    called = [token["called"] or token["word"] for token in tokens if token["called"] or token["call"]]
    found = [word for word in called if word.lower() in _AGGREGATES]
    # A window says over which rows it counts: its author means it.
    if len(found) > len(_WINDOW.findall(text)):
        raise ConfigError(
            f"{key} must say something of its own row, got {text!r}: {found[0]} sums up all rows of "
            f"{source.path}; use columns of one row alone, or prepare the file"
        )


def _require_fields(expression: pl.Expr, text: str, source: Source, key: str) -> None:
    """Raises MissingColumnError unless nested columns have the fields that an expression names."""
    try:
        source.frame.select(expression).collect_schema()
    except pl.exceptions.StructFieldNotFoundError as error:
        fields = {
            name: [field.name for field in dtype.fields]
            for name, dtype in source.columns.items()
            if isinstance(dtype, pl.Struct)
        }
        raise MissingColumnError(
            f"{source.path} has no field as {text!r} names it; its nested columns hold {fields}, and one "
            f"that holds anything but objects in some rows is a text in all; correct {key}, or the file"
        ) from error
    except pl.exceptions.PolarsError:
        return  # types that do not fit are found once the declared types are read


def _roots(expression: pl.Expr) -> tuple[str, ...]:
    """Returns the columns of the file that an expression reads, each once."""
    return tuple(name for name in dict.fromkeys(expression.meta.root_names()) if name not in (ROW, FAULT))
