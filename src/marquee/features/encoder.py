"""The features of a row, side by side: fitted on training rows, then the same for training and serving.

All features that become tokens share one table. Each owns a range of its rows and a fixed range of token
columns; row 0 is padding. All that become numbers stand side by side in `FeatureArrays.numeric`.

```
declared        genres (multi, max_values 3)   year (numeric, 4 buckets)   price (numeric)
token columns   0 1 2                          3                           -
table rows      1 … 19                         20 … 24                     -
numeric         -                              -                           0 (value)  1 (is missing)
```
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Literal, Self

import msgspec
import numpy as np

from marquee.core.ids import PADDING_INDEX
from marquee.core.plain import from_plain
from marquee.errors import ConfigError, MissingColumnError, ShapeError
from marquee.features.arrays import FeatureArrays
from marquee.features.codecs import FeatureState, NumberCodec, TokenCodec, build_codec
from marquee.features.config import FeatureConfig
from marquee.features.fitting import fit_state


@dataclass(frozen=True)
class FittedFeature:
    """A declared feature with what training taught about it."""

    name: str
    config: FeatureConfig
    state: FeatureState

    @property
    def column(self) -> str:
        """The column that the feature is read from."""
        return self.config.column or self.name


@dataclass(frozen=True)
class TokenBlock:
    """Where the tokens of one feature stand.

    Attributes:
        name: Of the feature.
        first_column: In `FeatureArrays.tokens`.
        n_columns: Token columns of the feature.
        first_row: In the token table.
        n_rows: Table rows of the feature.
        unknown_row: The table row of values that say nothing, 0 if they are ignored. A model does well
            to begin it at zero: where every training value is known, nothing moves it.
    """

    name: str
    first_column: int
    n_columns: int
    first_row: int
    n_rows: int
    unknown_row: int


@dataclass(frozen=True)
class FeatureEncoder:
    """Fitted features; the same values give the same arrays here, in another process and from disk.

    Attributes:
        features: In the declared order.
        blocks: One per feature that becomes tokens.
        n_token_columns: Columns of `FeatureArrays.tokens`.
        n_token_rows: Rows of the token table, padding included.
        n_numeric: Columns of `FeatureArrays.numeric`.

    Example:
        >>> from marquee.features.config import FeatureConfig, FeatureType
        >>> configs = {"tag": FeatureConfig(), "price": FeatureConfig(type=FeatureType.numeric)}
        >>> encoder = FeatureEncoder.fit(configs, {"tag": ["b", "a", "b"], "price": [1.0, 3.0, None]})
        >>> arrays = encoder.encode({"tag": ["a", "new"], "price": [3.0, "?"]}, n_rows=2)
        >>> arrays.tokens.tolist(), arrays.numeric.tolist()
        ([[2], [1]], [[1.0, 0.0], [0.0, 1.0]])
    """

    features: tuple[FittedFeature, ...]
    blocks: tuple[TokenBlock, ...] = field(init=False, compare=False)
    n_token_columns: int = field(init=False, compare=False)
    n_token_rows: int = field(init=False, compare=False)
    n_numeric: int = field(init=False, compare=False)
    _tokens: tuple[tuple[str, TokenCodec], ...] = field(init=False, repr=False, compare=False)
    _numbers: tuple[tuple[str, NumberCodec], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        blocks: list[TokenBlock] = []
        tokens: list[tuple[str, TokenCodec]] = []
        numbers: list[tuple[str, NumberCodec]] = []
        # Row 0 of the table is padding, shared by all features: where nothing is said, zeros add nothing.
        n_columns, n_rows, n_numeric = 0, PADDING_INDEX + 1, 0
        for feature in self.features:
            codec = build_codec(feature.config, feature.state, n_rows)
            if isinstance(codec, NumberCodec):
                numbers.append((feature.column, codec))
                n_numeric += codec.n_numeric
            else:
                tokens.append((feature.column, codec))
                blocks.append(
                    TokenBlock(
                        feature.name, n_columns, codec.n_columns, n_rows, codec.n_rows, codec.unknown_row
                    )
                )
                n_columns += codec.n_columns
                n_rows += codec.n_rows
        for name, value in (
            ("blocks", tuple(blocks)),
            ("n_token_columns", n_columns),
            ("n_token_rows", n_rows),
            ("n_numeric", n_numeric),
            ("_tokens", tuple(tokens)),
            ("_numbers", tuple(numbers)),
        ):
            # The class is frozen; this is the way that dataclasses themselves take.
            object.__setattr__(self, name, value)

    @classmethod
    def fit(cls, configs: Mapping[str, FeatureConfig], columns: Mapping[str, Sequence[object]]) -> Self:
        """Returns the encoder of the declared features, with what the given rows teach about them.

        Args:
            configs: Features by name, in the order in which they are to stand.
            columns: Values by column, training rows only.

        Raises:
            MissingColumnError: If a declared column is not there.
            DataError: If a column has values, and not one of them can be read as the declared type.
        """
        fitted = []
        for name, config in configs.items():
            column = config.column or name
            if column not in columns:
                raise MissingColumnError(
                    f"feature {name!r} is read from column {column!r}, which is not among "
                    f"{sorted(columns)}; correct its `column` or leave the feature out (config data.features)"
                )
            fitted.append(FittedFeature(name, config, fit_state(name, config, columns[column])))
        return cls(tuple(fitted))

    def encode(self, columns: Mapping[str, Sequence[object]], n_rows: int) -> FeatureArrays:
        """Returns the arrays of many rows; a column that is not given says nothing in every row.

        Args:
            columns: Values by column, each with `n_rows` entries; columns of no feature are not read.
            n_rows: Rows of the result.

        Raises:
            ShapeError: If a column has another length. A value never raises.
        """
        tokens = np.zeros((n_rows, self.n_token_columns), dtype=np.int32)
        for (column, codec), block in zip(self._tokens, self.blocks, strict=True):
            values = _column(columns, column, n_rows)
            size = (n_rows, block.n_columns)
            # With the size given, so that a codec that returns too few tokens fails here.
            flat = np.fromiter(chain.from_iterable(map(codec.tokens, values)), np.int32, math.prod(size))
            tokens[:, block.first_column : block.first_column + block.n_columns] = flat.reshape(size)
        # `read_number` keeps every number within float32.
        numeric = np.zeros((n_rows, self.n_numeric), dtype=np.float32)
        first = 0
        for column, number_codec in self._numbers:
            values = _column(columns, column, n_rows)
            size = (n_rows, number_codec.n_numeric)
            numbers = chain.from_iterable(map(number_codec.numbers, values))
            flat_numbers = np.fromiter(numbers, np.float32, math.prod(size))
            numeric[:, first : first + number_codec.n_numeric] = flat_numbers.reshape(size)
            first += number_codec.n_numeric
        return FeatureArrays(tokens=tokens, numeric=numeric)

    def encode_one(self, values: Mapping[str, object]) -> FeatureArrays:
        """Returns the arrays of one row, a request's: equal to `encode` of that row, and quicker."""
        # Plain lists until the end: an array for each feature would cost more than the values.
        tokens: list[int] = []
        for column, codec in self._tokens:
            tokens += codec.tokens(values.get(column))
        numbers: list[float] = []
        for column, number_codec in self._numbers:
            numbers += number_codec.numbers(values.get(column))
        return FeatureArrays(
            tokens=np.array([tokens], dtype=np.int32), numeric=np.array([numbers], dtype=np.float32)
        )

    def to_json(self) -> str:
        """Returns the encoder as text; `from_json` of it is equal to the encoder."""
        # Not msgspec's own codec: a category may hold half a surrogate pair, which UTF-8 cannot.
        return json.dumps({"features": msgspec.to_builtins(self.features)})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Returns the encoder that `to_json` wrote.

        Raises:
            ConfigError: If the text is not one that `to_json` writes.
        """
        try:
            # A Literal as key type: any other key is refused, and not dropped.
            body = from_plain(json.loads(text), dict[Literal["features"], list[object]])
            return cls(from_plain(body.get("features"), tuple[FittedFeature, ...]))
        except ValueError as error:
            raise ConfigError(
                f"a feature specification must be as FeatureEncoder.to_json writes it, got "
                f"{text[:60]!r}… ({error}); export the bundle again"
            ) from error


def _column(columns: Mapping[str, Sequence[object]], name: str, n_rows: int) -> Sequence[object]:
    """Returns a column's values, or None for every row if it is not given."""
    if name not in columns:
        return [None] * n_rows
    # Trap: `np.fromiter` stops at the count it is given, so a longer column would pass unnoticed.
    if len(columns[name]) != n_rows:
        raise ShapeError(f"column {name!r} must have {n_rows} values, got {len(columns[name])}")
    return columns[name]
