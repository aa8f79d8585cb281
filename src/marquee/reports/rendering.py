"""Fills the templates of this package: the one place that knows jinja2."""

from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING

from marquee.errors import ConfigError
from marquee.reports.panels import INSTALL
from marquee.reports.verdict import p_in_words, signed

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


def render(template: str, **content: object) -> str:
    """Returns a template of `templates` filled with the content; HTML is escaped.

    Raises:
        ConfigError: If jinja2 is not installed.
    """
    try:
        import jinja2  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise ConfigError(f"reports need the package jinja2, got {error}; run: {INSTALL}") from error
    return _environment().get_template(template).render(**content)


@cache
def _environment() -> "Environment":
    """Returns the environment that compiles the templates, each once."""
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("marquee.reports", "templates"),
        # Titles, ids and configs are data: markup in them stays text.
        autoescape=select_autoescape(enabled_extensions=("html.j2",)),
        # A misspelt name must fail, not print nothing.
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "breakable": breakable,
        "code": code,
        "duration": duration,
        "moment": moment,
        "p": p_in_words,
        "signed": signed,
    }
    return environment


def breakable(name: str) -> "Markup":
    """Returns a name in markup that may break after an underscore, where a narrow column needs it."""
    from markupsafe import Markup, escape

    return escape(name).replace("_", Markup("_<wbr>"))


def code(text: str) -> "Markup":
    """Returns text in markup, with what stands between backticks as code."""
    from markupsafe import Markup, escape

    # Escaped before it is split: the tags put in are then the only markup.
    plain, *rest = str(escape(text)).split("`")
    pieces = (f"<code>{piece}</code>" if number % 2 == 0 else piece for number, piece in enumerate(rest))
    return Markup(plain + "".join(pieces))


def moment(created: str) -> str:
    """Returns an ISO 8601 time as people read it; anything else as it is.

    Example:
        >>> moment("2026-11-25T17:57:57+00:00"), moment("yesterday")
        ('25 November 2026, 17:57 UTC', 'yesterday')
    """
    try:
        # A caller may give any text.
        time = datetime.fromisoformat(created)
    except ValueError:
        return created
    zone = f" {time.tzname()}" if time.tzinfo else ""
    return f"{time.day} {time:%B %Y, %H:%M}{zone}"


def duration(seconds: float | None) -> str:
    """Returns a time as people say it.

    Example:
        >>> duration(12.3), duration(200), duration(7500), duration(None)
        ('12.3 s', '3 min 20 s', '2 h 5 min', 'not measured')
    """
    if seconds is None:
        return "not measured"
    if seconds < 60:
        return f"{seconds:.1f} s"
    # Rounded first, or 119.6 would read as 1 min 60 s.
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
