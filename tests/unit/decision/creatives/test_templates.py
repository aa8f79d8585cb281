"""Templates: escaped, checked for length, silent where a field is missing; fields and numbers alone."""

import html
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marquee.decision.creatives.templates import Creative
from marquee.errors import ConfigError

OFFER = Creative(name="offer", template="<b>{title}</b> for {price:,.2f} ({genres})", max_length=60)
ITEM = {"title": "Blues & Co", "price": 1234.5, "genres": ["Jazz", "Soul"]}


def test_fields_stand_in_their_places() -> None:
    assert OFFER.render(ITEM).text == "<b>Blues &amp; Co</b> for 1,234.50 (Jazz, Soul)"
    assert OFFER.fields == ("title", "price", "genres")


@pytest.mark.parametrize("missing", [None, "", "   ", [], float("nan"), math.inf, "\x00", {"a": 1}, True])
@pytest.mark.parametrize("name", ["title", "price", "genres"])
def test_missing_field_is_not_shown_and_named(name: str, missing: object) -> None:
    found = OFFER.render({**ITEM, name: missing})
    assert (found.text, found.reason) == ("", f"missing {name}")
    assert not found.is_shown
    assert not OFFER.render({key: value for key, value in ITEM.items() if key != name}).is_shown


def test_number_behind_a_text_field_and_text_behind_a_number_field() -> None:
    whole = Creative(name="n", template="{year} {left:d}")
    assert whole.render({"year": 1999.0, "left": 3.0}).text == "1999 3"
    assert whole.render({"year": "1999", "left": "3"}).reason == "missing left"
    assert whole.render({"year": 1999.5, "left": 2.5}).reason == "missing left"


def test_length_is_what_a_reader_sees() -> None:
    short = Creative(name="short", template="{title}", max_length=4)
    assert short.render({"title": '<&>"'}).text == "&lt;&amp;&gt;&quot;"
    assert short.render({"title": "five5"}).reason == "too long"


@given(st.text(max_size=80))
def test_nothing_of_an_item_becomes_markup_or_a_control(title: str) -> None:
    found = Creative(name="one", template="[{title}]", max_length=60).render({"title": title})
    assert not set(found.text) & set("<>\"'\n\r\t\x00\u202e\u200f")
    assert len(html.unescape(found.text)) <= 60
    if found.is_shown:
        assert html.unescape(found.text)[1:-1] in " ".join(title.split()) or not title.isprintable()


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{title.__class__}", "title.__class__"),
        ("{title[0]}", "title"),
        ("{title!r}", "!r"),
        ("{title:>999999999}", ">999999999"),
        ("{price:.{title}f}", "price"),
        ("{}", "may hold fields"),
        ("{0}", "may hold fields"),
        ("{title", "expected '}'"),
        ("title}", "Single '}'"),
        ("no field", "names no field"),
        ("{title}" * 200, "1400 characters"),
    ],
)
def test_templates_that_ask_for_more_are_refused(template: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words.replace("{", r"\{").replace("[", r"\[")):
        Creative(name="bad", template=template)


def test_doubled_braces_are_braces() -> None:
    assert Creative(name="new", template="{{new}} {title}").render(ITEM).text == "{new} Blues &amp; Co"
