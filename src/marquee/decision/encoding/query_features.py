"""The attributes of a request as the query tower reads them: what is known of a user under what is said."""

from collections.abc import Iterable
from dataclasses import dataclass

from marquee.core.ids import PADDING_INDEX
from marquee.core.schema import SURFACE, TIMESTAMP
from marquee.decision.requests import Request
from marquee.features import FeatureArrays, FeatureEncoder


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """The features of one request.

    Attributes:
        arrays: One row.
        says_something: True if the row differs from that of a request that gives nothing but the time.
        ignored: Names given that nothing reads.
    """

    arrays: FeatureArrays
    says_something: bool
    ignored: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Place:
    """Columns of `FeatureArrays` that come from one source column."""

    tokens: list[int]
    numeric: list[int]


class QueryFeatures:
    """Rows of query features: what the bundle knows of a user under what the request says.

    Args:
        encoder: Of user and context features.
        stored: Of the known users, n_users + 1 rows.
        columns: What a request may state to any effect, not only on features.
    """

    def __init__(self, encoder: FeatureEncoder, stored: FeatureArrays, columns: frozenset[str]) -> None:
        self._encoder = encoder
        self._columns = columns | {TIMESTAMP}
        self._stored = stored
        self._nothing = encoder.encode_one({})
        self._nothing_given = FeatureRow(self._nothing, says_something=False, ignored=())
        self._places = _places(encoder)
        self._reads_time = TIMESTAMP in self._places
        self._reads_surface = SURFACE in self._places
        # The time is always given, and says nothing of who asks.
        telling = [place for column, place in self._places.items() if column != TIMESTAMP]
        self._telling = _Place(
            tokens=[index for place in telling for index in place.tokens],
            numeric=[index for place in telling for index in place.numeric],
        )

    def encode(self, request: Request, user: int) -> FeatureRow:
        """Returns the row of one request."""
        surface = request.surface if self._reads_surface else None
        says_something = request.features or request.context or surface is not None
        # Always the same row: it was encoded once.
        if user == PADDING_INDEX and not (says_something or self._reads_time):
            return self._nothing_given
        values: dict[str, object] = {
            TIMESTAMP: request.timestamp,
            **request.features,
            **request.context,
        }
        if surface is not None:
            # A surface in the context was named as a feature: it stays.
            values.setdefault(SURFACE, surface)
        given = values.keys() & self._places.keys()
        row = self._stored_row(user)
        if given:
            row = self._overlaid(row, self._encoder.encode_one(values), given)
        ignored = values.keys() - self._columns if len(values) > len(given) + 1 else ()
        return FeatureRow(row, self._says_something(row), tuple(sorted(ignored)))

    def telling_columns(self, row: FeatureRow) -> tuple[str, ...]:
        """Returns the source columns in which a row differs from one of which nothing is known."""
        differs = (
            (row.arrays.tokens != self._nothing.tokens)[0],
            (row.arrays.numeric != self._nothing.numeric)[0],
        )
        return tuple(
            [
                column
                for column, place in self._places.items()
                if differs[0][place.tokens].any() or differs[1][place.numeric].any()
            ]
        )

    def without(self, row: FeatureRow, column: str) -> FeatureRow:
        """Returns a row as if nothing were known in one source column."""
        arrays = self._overlaid(row.arrays, self._nothing, [column])
        return FeatureRow(arrays, self._says_something(arrays), row.ignored)

    def _says_something(self, row: FeatureArrays) -> bool:
        """Returns True if a row differs from that of a request that gives nothing but the time."""
        nothing, telling = self._nothing, self._telling
        return row is not nothing and bool(
            (row.tokens != nothing.tokens)[0, telling.tokens].any()
            or (row.numeric != nothing.numeric)[0, telling.numeric].any()
        )

    def _stored_row(self, user: int) -> FeatureArrays:
        """Returns the stored features of a user; the empty row for the unknown one."""
        if user == PADDING_INDEX:
            return self._nothing
        return FeatureArrays(
            tokens=self._stored.tokens[user : user + 1], numeric=self._stored.numeric[user : user + 1]
        )

    def _overlaid(self, under: FeatureArrays, over: FeatureArrays, columns: Iterable[str]) -> FeatureArrays:
        """Returns `under` with the features that are read from some columns replaced by those of `over`."""
        if under is self._nothing:
            return over
        # Copies: the stored rows lie in a file that is mapped for reading.
        tokens, numeric = under.tokens.copy(), under.numeric.copy()
        for column in columns:
            place = self._places[column]
            tokens[:, place.tokens] = over.tokens[:, place.tokens]
            numeric[:, place.numeric] = over.numeric[:, place.numeric]
        return FeatureArrays(tokens=tokens, numeric=numeric)


def _places(encoder: FeatureEncoder) -> dict[str, _Place]:
    """Returns where the features that are read from each source column stand."""
    places: dict[str, _Place] = {}
    n_tokens, n_numeric = 0, 0
    for feature in encoder.features:
        alone = FeatureEncoder((feature,))
        place = places.setdefault(feature.column, _Place([], []))
        place.tokens.extend(range(n_tokens, n_tokens + alone.n_token_columns))
        place.numeric.extend(range(n_numeric, n_numeric + alone.n_numeric))
        n_tokens += alone.n_token_columns
        n_numeric += alone.n_numeric
    return places
