"""Fills the templates of this package: the one place that knows jinja2."""

from marquee.errors import ConfigError
from marquee.reports.plots import INSTALL
from marquee.reports.verdict import p_in_words, signed


def render(template: str, **content: object) -> str:
    """Returns a template of `templates` filled with the content; HTML is escaped.

    Raises:
        ConfigError: If jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
    except ImportError as error:
        raise ConfigError(f"reports need the package jinja2, got {error}; run: {INSTALL}") from error
    environment = Environment(
        loader=PackageLoader("marquee.reports", "templates"),
        autoescape=select_autoescape(enabled_extensions=("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"duration": duration, "signed": signed, "p": p_in_words}
    return environment.get_template(template).render(**content)


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
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
