"""One short sentence per item for people, from its largest cause, in words that the operator can replace.

Causes are compared in units of score: an event or attribute by what the score loses without it, a bias by
what it has beyond that of the average item, gains of relevance by what they are worth in score. What a rule
pinned is said to be pinned, whatever else speaks for it. Where no cause speaks for an item, or none is known,
the sentence says what the whole answer rests on.
"""

import string
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from marquee.core.schema import TIMESTAMP
from marquee.decision.explaining.reasons import ItemReasons, Reasons
from marquee.decision.requests import Source
from marquee.errors import ConfigError

DEFAULT_WORDS: Mapping[str, str] = {
    "event": "Because of {event}",
    "feature": "Fits {feature}: {value}",
    "stored_feature": "Fits your {feature}",
    "moment": "Fits this time",
    "user": "Fits what you liked before",
    "bias": "Liked by many",
    "freshness": "New",
    "boost": "Recommended at the moment",
    "pin": "Chosen by our editors",
    "personal": "Chosen for you",
    "history": "Goes with what you looked at",
    "features": "Fits what we know of you",
    "similar": "Similar to {like_item}",
    "popular": "Popular at the moment",
    "popular_in": "Popular where you are: {popular_in}",
    "new": "New",
    "query": "Fits your words",
    "ad": "Ad of {on_behalf_of}, paid for by {paid_by}",
}
"""The sentences by cause, and by source where no cause is known."""

_PLACES: Mapping[str, frozenset[str]] = {
    "event": frozenset({"event"}),
    "feature": frozenset({"feature", "value"}),
    "stored_feature": frozenset({"feature"}),
    "similar": frozenset({"like_item"}),
    "popular_in": frozenset({"popular_in"}),
    "ad": frozenset({"on_behalf_of", "paid_by"}),
}
_MAX_LENGTH = 300


@dataclass(frozen=True, slots=True)
class Words:
    """The sentences.

    Attributes:
        sentences: Template by cause or source; a name in braces stands for what it names.

    Raises:
        ConfigError: If one is for nothing that there is, or names what is not known there.
    """

    sentences: Mapping[str, str] = field(default_factory=lambda: DEFAULT_WORDS)

    def __post_init__(self) -> None:
        for cause, sentence in self.sentences.items():
            _validate(cause, sentence)

    @classmethod
    def read(cls, path: Path) -> "Words":
        """Returns the sentences of a YAML file, ours for causes that it does not name.

        Raises:
            ConfigError: If the file cannot be read, or a sentence is none.
        """
        try:
            said = msgspec.yaml.decode(path.read_bytes(), type=dict[str, str])
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"the sentences of explanations must be a YAML file of cause: sentence, got {path}: {error}"
            ) from error
        return cls({**DEFAULT_WORDS, **said})

    def say(self, cause: str, **names: object) -> str:
        """Returns the sentence of a cause."""
        return self.sentences[cause].format(**names)


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts that sentences name beside the causes.

    Attributes:
        source: What the answer rests on.
        title_of: Returns what people know an item by.
        features: Values of the attributes that the request stated, by source column.
        like_item: What a similar answer resembles, None for others.
        popular_in: As in `Answer`.
    """

    source: str
    title_of: Callable[[str], str]
    features: Mapping[str, object] = field(default_factory=dict)
    like_item: str | None = None
    popular_in: str | None = None


@dataclass(frozen=True, slots=True)
class Cause:
    """Something that speaks for an item.

    Attributes:
        name: One of `DEFAULT_WORDS`.
        effect: How much, in units of score.
        of: Position of the event, or source column of the attribute.
    """

    name: str
    effect: float
    of: int | str | None = None


def sentence_of(words: Words, facts: Facts, reasons: Reasons, item: ItemReasons) -> tuple[str, str]:
    """Returns the cause that the sentence of an item names, and the sentence."""
    if item.is_pinned:
        return "pin", words.say("pin")
    # The first of equal ones: events before attributes, the oldest first.
    largest = max(causes_of(reasons, item), key=lambda cause: cause.effect, default=None)
    if largest is None or largest.effect <= 0.0:
        return sentence_of_source(words, facts)
    if largest.name == "event":
        assert isinstance(largest.of, int), f"an event has a position, got {largest.of!r}"
        return "event", words.say("event", event=facts.title_of(reasons.events[largest.of]))
    if largest.name == "feature":
        return _sentence_of_feature(words, facts, str(largest.of))
    return largest.name, words.say(largest.name)


def _sentence_of_feature(words: Words, facts: Facts, column: str) -> tuple[str, str]:
    """Returns the sentence of an attribute, and its name."""
    if column == TIMESTAMP:
        return "moment", words.say("moment")
    if column not in facts.features:
        # Of the user's own attributes a release holds what the tower reads of them, not their values.
        return "stored_feature", words.say("stored_feature", feature=column)
    return "feature", words.say("feature", feature=column, value=facts.features[column])


def sentence_of_source(words: Words, facts: Facts) -> tuple[str, str]:
    """Returns the sentence that says what a whole answer rests on, and its name."""
    if facts.source == Source.similar and facts.like_item is not None:
        return "similar", words.say("similar", like_item=facts.title_of(facts.like_item))
    if facts.source == Source.popular and facts.popular_in is not None:
        return "popular_in", words.say("popular_in", popular_in=facts.popular_in)
    # A source that a later version of the service wrote has no words here.
    is_known = facts.source in DEFAULT_WORDS and facts.source not in (Source.similar, "ad")
    name = facts.source if is_known else "popular"
    return name, words.say(name)


def sentence_of_ad(words: Words, on_behalf_of: str, paid_by: str) -> tuple[str, str]:
    """Returns the sentence that says who is behind an ad, and its name."""
    return "ad", words.say("ad", on_behalf_of=on_behalf_of, paid_by=paid_by)


def causes_of(reasons: Reasons, item: ItemReasons) -> Iterator[Cause]:
    """Yields all that speaks for or against an item."""
    for position, without in enumerate(item.without.events):
        # Without it nothing would be left to go by: the whole score is its effect.
        yield Cause("event", item.score - (without or 0.0), position)
    for column, without in item.without.features.items():
        yield Cause("feature", item.score - (without or 0.0), column)
    if item.without.user is not None:
        yield Cause("user", item.score - item.without.user)
    if item.bias is not None:
        yield Cause("bias", item.bias.value - item.bias.average)
    yield Cause("freshness", item.freshness * reasons.relevance_scale)
    yield Cause("boost", item.boost * reasons.relevance_scale)


def _validate(cause: str, sentence: str) -> None:
    """Raises ConfigError unless a sentence is one for its cause."""
    place = f"the sentence of {cause!r}"
    if cause not in DEFAULT_WORDS:
        raise ConfigError(f"a sentence must be for one of {sorted(DEFAULT_WORDS)}, got {cause!r}; correct it")
    known = _PLACES.get(cause, frozenset())
    try:
        named = [(name, form, conversion) for _, name, form, conversion in string.Formatter().parse(sentence)]
    except ValueError as error:
        raise ConfigError(f"{place} must hold names in pairs of braces, got {sentence!r}: {error}") from error
    for name, form, conversion in named:
        # No attributes, indices or formats: `{event.__class__}` would say what is nobody's business.
        if name is not None and (name not in known or form or conversion):
            raise ConfigError(
                f"{place} may name {sorted(known) or 'nothing'} in braces, got {name!r} in {sentence!r}; "
                "correct it"
            )
    if not 0 < len(sentence) <= _MAX_LENGTH:
        raise ConfigError(f"{place} must have 1 to {_MAX_LENGTH} characters, got {len(sentence)}; shorten it")
