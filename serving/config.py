"""The service's settings: every room's, read once from the environment, checked before anything starts.

A room declares its settings in its own `settings` module and is named once, in `Settings`.
`python -m serving.config` prints the tables of `docs/operating/running.md`.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

from marquee.errors import ConfigError
from serving.api.settings import ApiSettings
from serving.http.settings import HttpSettings
from serving.recording.settings import RecordingSettings
from serving.releases.settings import ReleaseSettings
from serving.settings import PREFIX, RoomSettings, declarations
from serving.telemetry.settings import TelemetrySettings

READ_ELSEWHERE = frozenset({"MARQUEE_DATA"})
"""Variables with our prefix that other parts read; any other unknown one is a misspelling."""


@dataclass(kw_only=True)
class Settings(TelemetrySettings, HttpSettings, ApiSettings, RecordingSettings, ReleaseSettings):
    """All settings of the service."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Returns the settings that the environment gives, defaults for the rest.

        Raises:
            ConfigError: If a variable is unknown, of another type, or out of bounds.
        """
        known = {declared.variable: name for name, declared in declarations(cls).items()}
        given = {variable: text for variable, text in environment.items() if variable.startswith(PREFIX)}
        unknown = sorted(given.keys() - known.keys() - READ_ELSEWHERE)
        if unknown:
            raise ConfigError(
                f"environment variable {unknown[0]} is unknown, expected one of {sorted(known)}; "
                "correct the name or unset it"
            )
        names = {known[variable]: text for variable, text in given.items() if variable in known}
        values = {name: declarations(cls)[name].read(text) for name, text in names.items()}
        return cls(**values)  # type: ignore[arg-type]  # `read` returns the type of the field


def settings_page() -> str:
    """Returns a table of each room's settings, in Markdown."""
    return "\n".join(line for room in reversed(Settings.__bases__) for line in _table(room))


def _table(room: type[RoomSettings]) -> Iterator[str]:
    """Returns the heading and the rows of one room."""
    defaults = room()
    yield f"### {room.__doc__.removesuffix('.') if room.__doc__ else room.__name__}\n"
    yield "| Variable | Default | Values | Is |"
    yield "|---|---|---|---|"
    for name, declared in declarations(room).items():
        default = getattr(defaults, name)
        shown = int(default) if isinstance(default, bool) else default
        yield f"| `{declared.variable}` | {shown} | {declared.bounds} | {declared.description} |"
    yield ""


if __name__ == "__main__":
    sys.stdout.write(settings_page())
