"""The declaration of a data set as text, which tasks take; and what cannot be done in parts."""

from dataclasses import replace

import msgspec

from marquee.core.plain import from_plain
from marquee.core.schema import TimeMeaning
from marquee.data.config import DataConfig
from marquee.data.order import Order
from marquee.data.split_config import SplitConfig, SplitMethod
from marquee.errors import ConfigError


def as_text(config: DataConfig) -> str:
    """Returns a declaration as JSON; of where files lie it says nothing, so that a folder may move."""
    return msgspec.json.encode(replace(config, root=".", prepared="", download=None, world=None)).decode()


def of_rows(config: DataConfig) -> str:
    """Returns the declaration of the rows alone, as JSON: another split leaves validated rows as they are."""
    # Where files say the parts, the declaration is no whole one without this split.
    keeps_split = config.split.method is SplitMethod.given
    # By value: a split that needs no order is one that any table can have.
    split = config.split if keeps_split else SplitConfig(method=SplitMethod.leave_last)
    return as_text(
        replace(
            config,
            split=split,
            kinds={},
            history_length=1,
            order=Order.events if config.time is TimeMeaning.none else Order.auto,
        )
    )


def from_text(text: str, root: str = ".") -> DataConfig:
    """Returns the declaration that a text holds, with files below `root`."""
    return replace(from_plain(msgspec.json.decode(text), DataConfig), root=root)


def require_parts(config: DataConfig) -> None:
    """Raises ConfigError if a data set can only be prepared as a whole."""
    split = config.split
    by_chance = split.method is SplitMethod.random or (
        split.method is SplitMethod.given
        and config.time is TimeMeaning.none
        and split.validation_fraction
        and not split.validate_end
    )
    for is_asked, what, instead in (
        (by_chance, f"data.split.method={split.method} with parts drawn at random",
         "method=time, leave_last or last_fraction"),
        (split.method is SplitMethod.given and config.time is TimeMeaning.none,
         "data.split.method=given with data.time=none", "a column of times, or method=leave_last"),
        (config.time is TimeMeaning.none and config.order is Order.auto, "data.order=auto",
         "data.order=events or none"),
        (config.session_gap_minutes, f"data.session_gap_minutes={config.session_gap_minutes:g}",
         "0, or a column of sessions as user_id"),
    ):  # fmt: skip
        if is_asked:
            raise ConfigError(
                f"a data set is prepared in parts by its users, got {what}, which looks at all events at "
                f"once; use {instead}, or train without data.prepared"
            )
