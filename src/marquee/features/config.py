"""The declaration of features: the only place where their names, types and policies are stated.

The same declaration is fitted for training and travels in the bundle for serving (see `encoder`).
"""

from dataclasses import dataclass, field
from enum import StrEnum

from marquee.errors import ConfigError

DEFAULT_TEXT_BUCKETS = 20_000


class FeatureType(StrEnum):
    """How a value becomes numbers."""

    categorical = "categorical"
    multi = "multi"
    numeric = "numeric"
    text = "text"
    vector = "vector"
    timestamp = "timestamp"


class UnknownPolicy(StrEnum):
    """How an unusable value is encoded: missing, of the wrong type, or never seen in training."""

    own_row = "own_row"
    ignore = "ignore"


class TimestampPart(StrEnum):
    """A part of a UTC timestamp that becomes one token."""

    hour = "hour"
    weekday = "weekday"
    month = "month"
    year = "year"


def _default_parts() -> list[TimestampPart]:
    return [TimestampPart.hour, TimestampPart.weekday]


@dataclass(kw_only=True)
class FeatureConfig:
    """One declared feature.

    Attributes:
        type: How a value becomes numbers.
        column: Source column; empty for the feature's own name.
        max_values: `multi`: how many values of a list are kept, the first ones.
        max_tokens: `text`: how many tokens of a text are kept, words before character n-grams.
        buckets: `numeric`: 0 to standardise, 2 or more for quantile buckets. `text`: rows that words
            and n-grams are hashed into, 0 for `DEFAULT_TEXT_BUCKETS`.
        char_ngrams: `text`: sizes of the character n-grams taken of each word; empty for words only.
        min_count: `categorical` and `multi`: a value rarer than this in training is unknown.
        dim: `vector`: length of the ready-made vector.
        parts: `timestamp`: the parts that become tokens.
        unknown: What a value that says nothing becomes. `own_row`: a learned row of the feature (a
            flag for a standardised number). `ignore`: padding, or 0. A `vector` has no such row: it
            becomes zeros under either policy.
    """

    type: FeatureType = FeatureType.categorical
    column: str = ""
    max_values: int = 8
    max_tokens: int = 32
    buckets: int = 0
    char_ngrams: list[int] = field(default_factory=lambda: [3])
    min_count: int = 1
    dim: int = 0
    parts: list[TimestampPart] = field(default_factory=_default_parts)
    # The default: that a value is missing may say something, and a row can learn it.
    unknown: UnknownPolicy = UnknownPolicy.own_row

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError that names the key if a size is impossible or belongs to another type."""
        for key in ("max_values", "max_tokens", "min_count"):
            if getattr(self, key) < 1:
                raise ConfigError(f"{key} must be 1 or more, got {getattr(self, key)} (config data.features)")
        # A size of 0 would give one empty n-gram for every place of a word.
        if any(size < 1 for size in self.char_ngrams):
            raise ConfigError(
                f"char_ngrams must be sizes of 1 or more, got {list(self.char_ngrams)} (config data.features)"
            )
        self._validate_buckets()
        self._validate_dim()
        self._validate_parts()

    def _validate_buckets(self) -> None:
        """Raises ConfigError unless `buckets` is usable and belongs to the type."""
        # One bucket would hold every number and say nothing.
        if self.buckets < 0 or self.buckets == 1:
            raise ConfigError(f"buckets must be 0, or 2 or more, got {self.buckets} (config data.features)")
        if self.buckets and self.type not in (FeatureType.numeric, FeatureType.text):
            raise ConfigError(
                f"buckets belongs to numeric and text features, got buckets={self.buckets} on a "
                f"{self.type} feature; leave it out (config data.features)"
            )

    def _validate_dim(self) -> None:
        """Raises ConfigError unless a vector, and only a vector, declares its length."""
        if self.type is FeatureType.vector and self.dim < 1:
            raise ConfigError(
                f"dim must be the length of the ready-made vector, got {self.dim} (config data.features)"
            )
        # Refused and not ignored: who sets it expects an effect.
        if self.type is not FeatureType.vector and self.dim:
            raise ConfigError(
                f"dim belongs to vector features, got dim={self.dim} on a {self.type} feature; leave it out "
                "(config data.features)"
            )

    def _validate_parts(self) -> None:
        """Raises ConfigError unless `parts` are known, distinct and at least one."""
        known = list(TimestampPart.__members__)
        if (
            # Distinct: a part named twice would own two ranges of rows with one meaning.
            not self.parts
            or len(set(self.parts)) != len(self.parts)
            or any(p not in known for p in self.parts)
        ):
            raise ConfigError(
                f"parts must be distinct names of {known}, got {[str(part) for part in self.parts]} "
                "(config data.features)"
            )


@dataclass(kw_only=True)
class FeaturesConfig:
    """All declared features by whom they describe.

    Attributes:
        user: Of the user, by feature name.
        item: Of the item.
        context: Of the request, and in training of the event: hour, weekday, device, surface, …
    """

    user: dict[str, FeatureConfig] = field(default_factory=dict)
    item: dict[str, FeatureConfig] = field(default_factory=dict)
    context: dict[str, FeatureConfig] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raises ConfigError if a user feature and a context feature share a name or a column."""
        # The two are merged into one mapping by name (see `query`): one would hide the other.
        clash = sorted(self.user.keys() & self.context.keys())
        if clash:
            raise ConfigError(
                f"user and context features are encoded together and must have different names, got {clash} "
                "in both; rename one and keep its `column` (config data.features)"
            )
        # Values come in one mapping by column, in which the context would hide the user.
        columns = [
            {config.column or name for name, config in part.items()} for part in (self.user, self.context)
        ]
        shared = sorted(columns[0] & columns[1])
        if shared:
            raise ConfigError(
                f"user and context features must be read from different columns, got {shared} in both; "
                "rename the column in `columns` of one table (config data.features)"
            )

    @property
    def query(self) -> dict[str, FeatureConfig]:
        """The features of the query side: those of the user, then those of the context."""
        # The context last: a user's queries differ in the last columns alone.
        return {**self.user, **self.context}
