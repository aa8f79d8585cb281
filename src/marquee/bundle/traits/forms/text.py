"""The sentiment of a text that was just sent."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import msgspec

from marquee.bundle.traits.columns import CategoryColumn, Column, Values
from marquee.bundle.traits.forms.form import FormScores
from marquee.errors import BundleError, BundleVersionError, FormError
from marquee.features.sentiment.model import SENTIMENT_FORMAT, SentimentModel
from marquee.store.people.consent import Tier

TEXT = "text"

MAX_CHARACTERS = 2000
"""Characters of a text: a longer one would hold up the answers beside it."""


def decode_sentiment(content: bytes, path: Path) -> SentimentModel:
    """Returns the sentiment in the bytes of a file.

    Args:
        content: As a run wrote it.
        path: Of the file, for messages.

    Raises:
        BundleVersionError: If it was written in a format that this release does not read.
        BundleError: If it is no sentiment.
    """
    try:
        model = msgspec.json.decode(content, type=SentimentModel)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BundleError(
            f"{path} is no sentiment: {error}; name the file that a run of customers wrote under sentiments/"
        ) from error
    if model.format != SENTIMENT_FORMAT:
        raise BundleVersionError(
            f"{path} has format {model.format}, this release reads {SENTIMENT_FORMAT}; run the command that "
            "wrote it again, or use its release"
        )
    return model


@dataclass(frozen=True)
class TextForm:
    """Tells how much a text praises.

    Attributes:
        name: Of the trait.
        model: As the run wrote it.
        as_of: Moment up to which the run knew things, seconds since 1970.
    """

    name: str
    model: SentimentModel
    as_of: float | None

    type: ClassVar[str] = "sentiment"
    tier: ClassVar[Tier] = Tier.personal

    @property
    def version(self) -> str:
        """Of the fit."""
        return self.model.version

    @property
    def fields(self) -> list[Column]:
        """Columns that a form must hold."""
        return [CategoryColumn(TEXT, [])]

    def score_forms(self, values: Mapping[str, Values]) -> FormScores:
        """Returns probabilities of praise; see `Form`."""
        texts = ["" if one is None else str(one) for one in values[TEXT].tolist()]
        longest = max(map(len, texts), default=0)
        if longest > MAX_CHARACTERS:
            raise FormError(
                f"{TEXT} must have at most {MAX_CHARACTERS} characters, got {longest}; send the "
                "beginning, or score it with `python -m training.score`",
                TEXT,
            )
        return FormScores(self.model.score(texts).tolist())

    def warm(self) -> None:
        """Needs nothing."""
