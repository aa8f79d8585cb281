"""Settings of a room: bounds stand beside the field and hold however the settings are made."""

from dataclasses import dataclass
from typing import Annotated

import pytest
from msgspec import Meta

from marquee.errors import ConfigError
from serving.config import Settings, settings_page
from serving.settings import RoomSettings, declarations
from tests.support.paths import ROOT


@dataclass(kw_only=True)
class EventSettings(RoomSettings):
    """Events."""

    max_events: Annotated[int, Meta(ge=1, le=9, description="most events of one call")] = 3
    events: Annotated[str, Meta(description="folder of the log")] = ""


@dataclass(kw_only=True)
class WithEvents(Settings, EventSettings):
    """Settings of a service with one more room."""


@pytest.mark.parametrize("max_events", [0, 10, "3"])
def test_value_out_of_bounds_is_refused_however_it_is_given(max_events: int) -> None:
    message = rf"MARQUEE_MAX_EVENTS must be from 1 to 9, got {max_events!r}; it is most events of one call"
    with pytest.raises(ConfigError, match=message):
        EventSettings(max_events=max_events)


def test_another_room_is_one_more_base() -> None:
    settings = WithEvents.from_environment({"MARQUEE_MAX_EVENTS": "7", "MARQUEE_MAX_K": "8"})
    assert (settings.max_events, settings.max_k, settings.events) == (7, 8, "")
    with pytest.raises(ConfigError, match="MARQUEE_MAX_EVENTS must be from 1 to 9, got 0"):
        WithEvents.from_environment({"MARQUEE_MAX_EVENTS": "0"})


def test_every_setting_belongs_to_one_room() -> None:
    rooms = [set(declarations(room)) for room in Settings.__bases__]
    assert sum(map(len, rooms)) == len(set.union(*rooms)) == len(declarations(Settings))


def test_page_of_settings_is_what_the_code_prints() -> None:
    page = (ROOT / "docs" / "operating" / "running.md").read_text(encoding="utf-8")
    assert settings_page() in page, "put the output of `python -m serving.config` into the page"
