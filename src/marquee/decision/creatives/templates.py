"""Templates over the fields of an item: escaped, checked for length, and not shown where a field is missing.

```
"{title}, now {price:.2f} €"      title and price are attributes of the item
"{genres}"                        several values stand behind each other with commas
"{{new}} {title}"                 doubled braces are braces
```

A template can name fields and write numbers, and nothing else: no attribute, no index, no call. The text
between the fields is the operator's and stands as it is; what comes from an item is escaped for HTML.
"""

import html
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from string import Formatter

from marquee.errors import ConfigError

MAX_TEMPLATE = 1_000
# Digits, thousands, decimals: a width of a million would be a page of blanks.
_NUMBER_FORMAT = re.compile(r",?(\.\d)?[fd%]?")
_LIST_SEPARATOR = ", "


@dataclass(frozen=True, slots=True)
class Rendered:
    """A creative for one item.

    Attributes:
        text: What is shown, escaped; empty where it may not be shown.
        reason: Why it may not be shown, in a word and a name such as `missing price`; empty where it may.
    """

    text: str
    reason: str = ""

    @property
    def is_shown(self) -> bool:
        """Whether it may be shown."""
        return not self.reason


@dataclass(frozen=True, slots=True)
class _Part:
    """A stretch of text, and the field behind it; no field at the end."""

    text: str
    field: str = ""
    format: str = ""


@dataclass(frozen=True, kw_only=True)
class Creative:
    """One way to say an item.

    Attributes:
        name: What answers and the log call it.
        template: Text with fields of the item in braces.
        max_length: Characters that a reader may see at most; escapes count as what they stand for.

    Raises:
        ConfigError: If the template is none, names no field, or asks for more than fields and numbers.
    """

    name: str
    template: str
    max_length: int = 90
    _parts: tuple[_Part, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.name or self.max_length < 1 or len(self.template) > MAX_TEMPLATE:
            raise ConfigError(
                f"a creative needs a name, a max_length of 1 or more and a template of {MAX_TEMPLATE} "
                "characters at "
                f"most, got {self.name!r}, {self.max_length} and {len(self.template)} characters"
            )
        object.__setattr__(self, "_parts", _parse(self.name, self.template))

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that it needs, in order, each once."""
        return tuple(dict.fromkeys(part.field for part in self._parts if part.field))

    def render(self, fields: Mapping[str, object]) -> Rendered:
        """Returns the creative for an item.

        Args:
            fields: Attributes of the item: texts, numbers, or lists of them.

        Example:
            >>> offer = Creative(name="offer", template="{title} for {price:.2f}", max_length=30)
            >>> offer.render({"title": "Salt & Pepper", "price": 3}).text
            'Salt &amp; Pepper for 3.00'
            >>> offer.render({"title": "Salt & Pepper"}).reason
            'missing price'
        """
        plain, escaped = [], []
        for part in self._parts:
            plain.append(part.text)
            escaped.append(part.text)
            if part.field:
                value = _written(fields.get(part.field), part.format)
                if not value:
                    return Rendered("", f"missing {part.field}")
                plain.append(value)
                escaped.append(html.escape(value, quote=True))
        # Judged as a reader counts: `&amp;` is one character on the page.
        if len("".join(plain)) > self.max_length:
            return Rendered("", "too long")
        return Rendered("".join(escaped))


def _parse(name: str, template: str) -> tuple[_Part, ...]:
    """Returns the parts of a template."""
    try:
        found = list(Formatter().parse(template))
    except ValueError as error:
        raise ConfigError(
            f"creative {name!r}: {error}, got {template!r}; write braces as {{{{ and }}}}"
        ) from error
    parts = []
    for text, named, form, conversion in found:
        asks_more = conversion or not _NUMBER_FORMAT.fullmatch(form or "")
        if named is not None and (asks_more or not named.isidentifier()):
            raise ConfigError(
                f"creative {name!r} may hold fields and forms of numbers such as {{price:.2f}}, got "
                f"{{{named}{'!' + conversion if conversion else ''}{':' + form if form else ''}}}; correct it"
            )
        parts.append(_Part(text, named or "", form or ""))
    if not any(part.field for part in parts):
        raise ConfigError(
            f"creative {name!r} names no field, got {template!r}; name one, such as {{title}}: "
            "otherwise every item would be said alike"
        )
    return tuple(parts)


def _written(value: object, form: str) -> str:
    """Returns a value as text without control characters; empty where there is none."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return _LIST_SEPARATOR.join(filter(None, (_written(one, form) for one in value)))
    # A truth is no number, although Python counts with it.
    if isinstance(value, int | float) and not isinstance(value, bool):
        # Trap: `d` refuses a float, and attributes of a catalog are floats also where they are whole.
        if not math.isfinite(value) or (form.endswith("d") and value != int(value)):
            return ""
        return format(int(value) if form.endswith("d") or (not form and value == int(value)) else value, form)
    if not isinstance(value, str) or form:
        return ""
    # A mark that turns the direction of writing in one title would turn the rest of the line as well.
    kept = "".join(" " if char.isspace() else char for char in value if char.isspace() or _is_visible(char))
    return " ".join(kept.split())


def _is_visible(char: str) -> bool:
    """Returns whether a character is neither a control nor a mark of format."""
    return unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co")
