"""The service's log: one JSON object per line, with the request's id wherever there is one."""

import logging
import sys
import time
from typing import TextIO

import msgspec

LOGGER = "serving"
# A message may repeat what a caller sent: no line may fill the disk.
_MAX_TEXT = 10_000


class JsonLines(logging.Formatter):
    """Writes a log record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line of `record`."""
        created = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{created}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage()[:_MAX_TEXT],
            "process": record.process,
        }
        # Facts are fields of their own, by which a log is searched.
        line |= {name: _bounded(fact) for name, fact in getattr(record, "facts", {}).items()}
        if record.exc_info:
            # The end of a stack says where it failed.
            line["stack"] = self.formatException(record.exc_info)[-_MAX_TEXT:]
        return msgspec.json.encode(line).decode()


def _bounded(fact: object) -> object:
    """Returns a fact that takes no more of a line than a message may, as text where it takes more."""
    if isinstance(fact, str):
        return fact[:_MAX_TEXT]
    # Numbers are most of the others, and need no look at what they take.
    if fact is None or isinstance(fact, int | float):
        return fact
    text = msgspec.json.encode(fact, enc_hook=str).decode()
    return fact if len(text) <= _MAX_TEXT else text[:_MAX_TEXT]


def configure(stream: TextIO | None = None) -> None:
    """Sends what the service logs to standard error, as JSON lines; leaves every other logger alone."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger(LOGGER)
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    # A handler of the root logger would write each line a second time.
    logger.propagate = False
