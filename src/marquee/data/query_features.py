"""Features of a query: what is known of its user, then what is known of its moment.

User columns come first and context columns last: two queries of one user differ in the last columns alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from marquee.core.ids import Ids
from marquee.data.config import DataConfig
from marquee.errors import MissingColumnError
from marquee.features import FeatureArrays, FeatureConfig, FeatureEncoder

Columns = Mapping[str, Sequence[object]]


@dataclass(frozen=True)
class QueryFeatures:
    """User features by user, context features by event, and how they make a query's row.

    Attributes:
        encoder: Fitted on user features, then context features: those are the last columns.
        n_context: Context columns among tokens and among numbers.
        users: The users table, also of users that training never saw; None where there is none.
        of_users: Rows of the users of training, (n_users + 1) rows; row 0 is the unknown user.
    """

    encoder: FeatureEncoder
    n_context: tuple[int, int]
    users: pl.DataFrame | None
    of_users: FeatureArrays

    def encode_users(self, user_ids: Sequence[str] | pl.Series) -> FeatureArrays:
        """Returns the features of users by id, also of users without a row; context columns say nothing."""
        frame = pl.DataFrame({"user_id": user_ids}, schema={"user_id": pl.String})
        if self.users is not None:
            # Left: row i is the user asked for in place i, with or without a row in the table.
            frame = frame.join(self.users, on="user_id", how="left", maintain_order="left")
        return self.encoder.encode(columns_of(frame, self.encoder), len(frame))

    def encode_context(self, events: pl.DataFrame) -> FeatureArrays | None:
        """Returns the context columns of events, one row each; None where no context is declared."""
        n_tokens, n_numeric = self.n_context
        if not n_tokens and not n_numeric:
            return None
        # By the encoder of both: its token rows of the context begin after those of the user.
        encoded = self.encoder.encode(columns_of(events, self.encoder), len(events))
        return FeatureArrays(
            encoded.tokens[:, encoded.tokens.shape[1] - n_tokens :],
            encoded.numeric[:, encoded.numeric.shape[1] - n_numeric :],
        )


def with_context(of_users: FeatureArrays, context: FeatureArrays | None) -> FeatureArrays:
    """Returns query rows: those of users with the last columns replaced by `context`, row by row."""
    # Nothing is replaced, so nothing need be copied.
    if context is None:
        return of_users
    # Copied, as rows of users are shared by all their queries.
    tokens, numeric = of_users.tokens.copy(), of_users.numeric.copy()
    tokens[:, tokens.shape[1] - context.tokens.shape[1] :] = context.tokens
    numeric[:, numeric.shape[1] - context.numeric.shape[1] :] = context.numeric
    return FeatureArrays(tokens, numeric)


def columns_of(frame: pl.DataFrame, encoder: FeatureEncoder) -> Columns:
    """Returns the columns that an encoder reads, as Python lists; those that the frame lacks are left out."""
    names = {feature.column for feature in encoder.features} & set(frame.columns)
    # Python values, as requests hold them: one code path reads both.
    return {name: frame[name].to_list() for name in sorted(names)}


def fit_encoder(configs: Mapping[str, FeatureConfig], frame: pl.DataFrame) -> FeatureEncoder:
    """Returns the encoder of `configs` fitted on every row of `frame`."""
    columns = {config.column or name for name, config in configs.items()} & set(frame.columns)
    return FeatureEncoder.fit(configs, {name: frame[name].to_list() for name in sorted(columns)})


def found_again(encoder: FeatureEncoder, frame: pl.DataFrame) -> FeatureEncoder:
    """Returns a trained model's encoder; raises MissingColumnError if the frame lacks one of its columns."""
    # Without the column every row would say nothing of it, and nobody would be told.
    missing = sorted({feature.column for feature in encoder.features} - set(frame.columns))
    if missing:
        raise MissingColumnError(
            f"the model was trained with a feature of column {missing[0]!r}, which is not among "
            f"{sorted(frame.columns)}; put the column back, or train again"
        )
    return encoder


def fit_query_features(
    config: DataConfig,
    users: pl.DataFrame | None,
    user_ids: Ids,
    train: pl.DataFrame,
    trained: FeatureEncoder | None = None,
) -> QueryFeatures:
    """Returns user features fitted on training users, and context features fitted on training events.

    Args:
        config: Declares both.
        users: The users table; None where there is none.
        user_ids: Users of the training part.
        train: Events of the training part.
        trained: Encoder of a model that is trained already, in place of fitting one.
    """
    frame = user_ids.column().alias("user_id").to_frame()
    if users is not None:
        frame = frame.join(users, on="user_id", how="left", maintain_order="left")
    if trained is None:
        of_user = fit_encoder(config.features.user, frame)
        of_context = fit_encoder(config.features.context, train)
    else:
        # The trained encoder holds features of the user first, then those of the context.
        n_of_user = len(config.features.user)
        of_user = found_again(FeatureEncoder(trained.features[:n_of_user]), frame)
        of_context = found_again(FeatureEncoder(trained.features[n_of_user:]), train)
    encoder = FeatureEncoder(of_user.features + of_context.features)
    # Only columns of users: the context must say nothing in the row of a user.
    known, unknown = encoder.encode(columns_of(frame, of_user), len(frame)), encoder.encode({}, 1)
    of_users = FeatureArrays(
        np.concatenate([unknown.tokens, known.tokens]), np.concatenate([unknown.numeric, known.numeric])
    )
    return QueryFeatures(encoder, (of_context.n_token_columns, of_context.n_numeric), users, of_users)
