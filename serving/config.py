"""What an operator may set: read once from the environment, checked before anything starts."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

from marquee.errors import ConfigError

PREFIX = "MARQUEE_"

MAX_DRAIN_MS = 25_000

_MAY_BE_ZERO = frozenset({"drain_ms", "trace_percent"})

READ_ELSEWHERE = frozenset({"MARQUEE_DATA"})
"""Variables with our prefix that other parts read; any other unknown one is a misspelling."""


@dataclass(kw_only=True)
class Settings:
    """The service's settings; field `max_k` is the environment variable `MARQUEE_MAX_K`, and so on.

    Attributes:
        bundle: Folder of a bundle: one version, or the folder whose `CURRENT` names one.
        surfaces: File that declares several surfaces, each with its bundle; in place of `bundle`.
        trusted_keys: File of the public keys of those who may publish; empty to take bundles unsigned.
        workers: Processes that answer. With one, its crash is an outage until it is restarted.
        max_k: Most items that one request may ask for.
        max_history: Most history entries of one request.
        max_exclude: Most excluded items of one request.
        max_filters: Most attributes that one request may filter by.
        max_filter_values: Most values in one list of a filter.
        max_batch: Most requests in one batch call.
        max_body_bytes: Largest body, however it is sent.
        body_timeout_ms: Time within which a body must have arrived.
        max_connections: Connections that one worker serves; as many more are refused with 503.
        max_header_bytes: Largest request line and headers.
        header_timeout_ms: Time within which the headers of a request must have arrived.
        write_timeout_ms: Time within which a caller must have read its reply.
        deadline_ms: Time within which a request is answered, or refused with 503.
        max_pending: Requests that may wait in one worker; more are refused with 503 at once.
        micro_batch: Most requests that go through the model together.
        release_poll_ms: How often a worker looks whether other releases are to answer.
        items: Folder in which items that come and go between releases are kept; empty to take none.
        items_poll_ms: How often a worker looks whether items have changed.
        max_live_items: Most items that are kept there for one channel, withdrawn ones included.
        keys: File of API keys; empty for a service that is open to whoever reaches it.
        drain_file: While this file exists the service says that it is not ready, and goes on answering.
        drain_ms: How long a worker goes on, not ready, after SIGTERM.
        log_requests: Whether each request leaves a line in the log.
        traces: Where traces go: `console`, `file:<path>`, `otlp`; empty: there are none.
        trace_percent: Share of the requests that is traced where the caller has not decided.
    """

    bundle: str = ""
    surfaces: str = ""
    trusted_keys: str = ""
    workers: int = 2
    max_k: int = 500
    max_history: int = 1000
    max_exclude: int = 5000
    max_filters: int = 16
    max_filter_values: int = 100
    max_batch: int = 100
    max_body_bytes: int = 1_048_576
    body_timeout_ms: int = 5000
    max_connections: int = 1024
    max_header_bytes: int = 16_384
    header_timeout_ms: int = 5000
    write_timeout_ms: int = 10_000
    deadline_ms: int = 1000
    max_pending: int = 1024
    micro_batch: int = 32
    release_poll_ms: int = 1000
    items: str = ""
    items_poll_ms: int = 250
    max_live_items: int = 10_000
    keys: str = ""
    drain_file: str = ""
    drain_ms: int = 0
    log_requests: bool = False
    traces: str = ""
    trace_percent: int = 100

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError if a setting is out of range or two do not fit together."""
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type is int and value < (field.name not in _MAY_BE_ZERO):
                raise ConfigError(f"{_variable(field.name)} must be 1 or more, got {value}; set it higher")
        if self.drain_ms > MAX_DRAIN_MS:
            raise ConfigError(
                f"MARQUEE_DRAIN_MS must be at most {MAX_DRAIN_MS}, got {self.drain_ms}; what watches the "
                "workers kills them after 30 s"
            )
        if self.trace_percent > 100:
            raise ConfigError(f"MARQUEE_TRACE_PERCENT must be at most 100, got {self.trace_percent}")
        if self.max_pending < self.max_batch:
            raise ConfigError(
                f"MARQUEE_MAX_PENDING must be at least MARQUEE_MAX_BATCH ({self.max_batch}), got "
                f"{self.max_pending}; a batch that can never be accepted helps nobody"
            )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Returns the settings that the environment gives, defaults for the rest.

        Raises:
            ConfigError: If a variable is unknown, no integer where one is needed, or out of range.
        """
        known = {_variable(field.name): field for field in fields(cls)}
        given = {name: text for name, text in environment.items() if name.startswith(PREFIX)}
        unknown = sorted(given.keys() - known.keys() - READ_ELSEWHERE)
        if unknown:
            raise ConfigError(
                f"environment variable {unknown[0]} is unknown, expected one of {sorted(known)}; "
                "correct the name or unset it"
            )
        values: dict[str, str | int] = {}
        for name, text in given.items():
            if name in known:
                values[known[name].name] = _value(name, text, known[name].type)
        return cls(**values)  # type: ignore[arg-type]  # each value has its field's type by the line above


def _variable(field_name: str) -> str:
    """Returns the environment variable that sets a field."""
    return PREFIX + field_name.upper()


def _value(name: str, text: str, wanted: object) -> str | int:
    """Returns `text` as a value of the type that a field has."""
    if wanted is int:
        return _integer(name, text)
    if wanted is bool and text not in {"0", "1"}:
        raise ConfigError(f"{name} must be 0 or 1, got {text!r}; set one of them")
    return text == "1" if wanted is bool else text


def _integer(name: str, text: str) -> int:
    """Returns `text` as an integer."""
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"{name} must be an integer, got {text!r}; set a whole number") from None
