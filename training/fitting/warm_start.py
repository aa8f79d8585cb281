"""Begins where an earlier run ended: rows are taken over by name, what is new lies among its company.

Users, items, kinds of events and values of features are known by what the outside world calls them: an index
means another thing in every data set. Everything else must have the shape that it had.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from marquee.core.arrays import FloatArray, IndexArray
from marquee.core.cooccurrence import user_item_matrix
from marquee.data.dataset import Dataset
from marquee.errors import OtherShapeError
from marquee.features import FeatureEncoder, TokenBlock
from marquee.nn.embed import embed_catalog
from marquee.nn.initialisation.tables import InitialisationConfig
from marquee.nn.models import TwoTower
from training.fitting.checkpoints import best_checkpoint, find_run, read_weights
from training.fitting.names import Names


@dataclass(frozen=True)
class Pairs:
    """Rows that stand for the same thing in both runs.

    Attributes:
        earlier: Rows of the earlier run's table, (n_kept,) int64.
        now: Rows of this run's table, (n_kept,) int64.
        new: Rows of this run's table that the earlier one lacks, (n_new,) int64.
        n_dropped: Rows that only the earlier one has.
    """

    earlier: IndexArray
    now: IndexArray
    new: IndexArray
    n_dropped: int

    @classmethod
    def of(cls, earlier: Sequence[str], now: Sequence[str]) -> "Pairs":
        """Returns the pairs of two lists of names, whose first row is 1."""
        # Row 0 is padding in both tables, and 0 stands for a name that is not there.
        index_of = {name: row for row, name in enumerate(earlier, start=1)}
        found = np.array([index_of.get(name, 0) for name in now], dtype=np.int64)
        rows = np.arange(1, len(now) + 1)
        is_kept = found > 0
        return cls(found[is_kept], rows[is_kept], rows[~is_kept], len(earlier) - int(is_kept.sum()))

    def __str__(self) -> str:
        return f"{len(self.now):,} kept, {len(self.new):,} new, {self.n_dropped:,} dropped"


@dataclass(kw_only=True)
class WarmStartConfig(InitialisationConfig):
    """The weights of an earlier run, for users and items that may be others by now.

    ```
    user, item known before      its row
    new item with events         the mean row of the items that its users had, as long as rows are
    new item, no such company    what its features say (or random, where there are none)
    new user                     what its history says; without a history tower, the midst of its items
    ```

    Attributes:
        run: Folder of the run, or `latest`.
    """

    run: str = ""

    def apply(self, model: TwoTower, dataset: Dataset, seed: int) -> str:  # noqa: ARG002 - nothing is drawn
        """See `InitialisationConfig.apply`.

        Raises:
            ConfigError: If there is no such run.
            OtherShapeError: If its model has another shape.
        """
        folder = find_run(self.run)
        names, before = Names.of(dataset), Names.read(folder)
        weights = read_weights(best_checkpoint(folder))
        users, items, kinds = (
            Pairs.of(earlier, now)
            for earlier, now in (
                (before.users, names.users),
                (before.items, names.items),
                (before.kinds, names.kinds),
            )
        )
        tokens = {
            "query_tower.features.table.weight": token_pairs(before.query_features, names.query_features),
            "item_tower.features.table.weight": token_pairs(before.item_features, names.item_features),
        }
        by_name = {
            "user_table.weight": users,
            "item_table.weight": items,
            "bias_table.weight": items,
            **{name: kinds for name in KIND_TABLES},
            **tokens,
        }
        # First: the new rows are placed among those that were taken over.
        take_over(model, weights, by_name, self.run)
        n_with_company = place_new_items(model, dataset, items)
        place_new_users(model, dataset, users)
        return (
            f"start from {folder}: items {items} ({n_with_company:,} of the new ones by their company), "
            f"users {users}, feature values {_sum(list(tokens.values()))}"
        )


KIND_TABLES = (
    "query_tower.history.kind_weight",
    "query_tower.history.kind_shift.weight",
    "query_tower.history.kind.weight",
)


def token_pairs(earlier: FeatureEncoder, now: FeatureEncoder) -> Pairs:
    """Returns the rows of two token tables that stand for the same value of the same feature.

    Features that keep a list of values are compared value by value; others (hashed text, parts of a range)
    row by row, where they have as many.
    """
    blocks = {block.name: block for block in earlier.blocks}
    features = {feature.name: feature for feature in earlier.features}
    kept_earlier: list[IndexArray] = []
    kept_now: list[IndexArray] = []
    for feature, block in ((f, b) for b in now.blocks for f in now.features if f.name == b.name):
        old = blocks.get(block.name)
        # Hashed or cut otherwise, equal rows would mean other values.
        if old is None or features[block.name].config != feature.config:
            continue
        if feature.state.values:
            # By text: values of one feature may be of several types, which do not compare.
            both = sorted(set(feature.state.values) & set(features[block.name].state.values), key=str)
            kept_earlier.append(_rows_of(earlier, feature.column, both, old))
            kept_now.append(_rows_of(now, feature.column, both, block))
            # The row for values that training never saw is no value, and in no list.
            if old.unknown_row and block.unknown_row:
                kept_earlier.append(np.array([old.unknown_row]))
                kept_now.append(np.array([block.unknown_row]))
        elif old.n_rows == block.n_rows:
            kept_earlier.append(np.arange(old.first_row, old.first_row + old.n_rows))
            kept_now.append(np.arange(block.first_row, block.first_row + block.n_rows))
    # NumPy joins no empty list, and two encoders may share nothing.
    nothing = np.zeros(0, dtype=np.int64)
    rows_earlier = np.concatenate([nothing, *kept_earlier])
    rows_now = np.concatenate([nothing, *kept_now])
    new = np.setdiff1d(np.arange(1, now.n_token_rows), rows_now)
    return Pairs(rows_earlier, rows_now, new, earlier.n_token_rows - 1 - len(rows_earlier))


def _rows_of(encoder: FeatureEncoder, column: str, values: Sequence[object], block: TokenBlock) -> IndexArray:
    """Returns the table row of each value of a feature, (n_values,) int64."""
    tokens = encoder.encode({column: list(values)}, len(values)).tokens
    return tokens[:, block.first_column].astype(np.int64)


@torch.no_grad()
def take_over(model: TwoTower, weights: dict[str, Tensor], by_name: dict[str, Pairs], run: str) -> None:
    """Writes earlier weights into a model: tables row by row, everything else as a whole.

    Raises:
        OtherShapeError: If the earlier model had other parts, or parts of another shape.
    """
    # Parameters alone: buffers are of the data, such as the features of items.
    own = dict(model.named_parameters())
    if own.keys() != weights.keys():
        name = sorted(own.keys() ^ weights.keys())[0]
        holder = "the earlier model lacks" if name in own else "only the earlier model has"
        raise OtherShapeError(
            f"start.run {run!r} must have been trained with the parts of this model, got one where {holder} "
            f"{name}; give `model` as its config.yaml has it"
        )
    for name, parameter in own.items():
        found = weights[name]
        is_table = name in by_name and min(len(found), len(parameter)) > 1  # a part that is off has one row
        # Of a table the rows may differ in number, everything else may not.
        if found.shape[is_table:] != parameter.shape[is_table:]:
            raise OtherShapeError(
                f"start.run {run!r} was trained with {name} of shape {tuple(found.shape)}, expected "
                f"{tuple(parameter.shape)}; give `model` and `data` as its config.yaml has them"
            )
        if is_table:
            pairs = by_name[name]
            parameter[torch.from_numpy(pairs.now)] = found[torch.from_numpy(pairs.earlier)]
        else:
            parameter.copy_(found)


@torch.no_grad()
def place_new_items(model: TwoTower, dataset: Dataset, items: Pairs) -> int:
    """Writes the rows of items that the earlier run did not have; returns how many had company.

    A row is the sum of the mean rows of the item's users, over the items that were known, made as long as
    known rows are. Biases begin at that of all items.
    """
    if not model.config.item_id or not len(items.new):
        return 0
    matrix = user_item_matrix(dataset.train, dataset.n_items)  # (n_users + 1, n_items + 1)
    table, new = model.item_table.weight, torch.from_numpy(items.new)
    is_kept = np.zeros(dataset.n_items + 1, dtype=np.float32)
    is_kept[items.now] = 1.0
    rows = np.zeros((dataset.n_items + 1, table.shape[1]), dtype=np.float32)
    rows[items.now] = table[torch.from_numpy(items.now)].numpy()
    of_user = (matrix @ rows) / np.maximum(matrix @ is_kept, 1.0)[:, None]  # (n_users + 1, dim)
    company = np.asarray(matrix.T @ of_user)[items.new]
    has_company = np.asarray(company.any(axis=1))
    # Without features the random row stays: with zeros all such items would score alike.
    is_placed = np.ones_like(has_company) if model.item_tower.features is not None else has_company
    placed = _with_length(company, _mean_length(rows[items.now]))
    table[new[is_placed]] = torch.from_numpy(placed[is_placed])  # zeros leave the word to the features
    if model.bias_table is not None:
        # Biases are centred: 0 is that of all items.
        model.bias_table.weight[new] = 0.0
    return int(has_company.sum())


@torch.no_grad()
def place_new_users(model: TwoTower, dataset: Dataset, users: Pairs) -> None:
    """Writes the rows of users that the earlier run did not have.

    Where the tower reads histories the row is zero: the user is answered as an unknown one is.
    """
    if not model.config.user_id or not len(users.new):
        return
    weight = model.user_table.weight
    midst = np.zeros((len(users.new), weight.shape[1]), dtype=np.float32)
    if model.query_tower.history is None:
        items = embed_catalog(model)[:, : model.config.dim]
        sums = (user_item_matrix(dataset.train, dataset.n_items) @ items)[users.new]
        midst = _with_length(sums, _mean_length(weight[torch.from_numpy(users.now)].numpy()))
    weight[torch.from_numpy(users.new)] = torch.from_numpy(midst)


def _mean_length(rows: FloatArray) -> float:
    """Returns how long rows are on average, 1 if there are none."""
    return float(np.linalg.norm(rows, axis=1).mean()) if len(rows) else 1.0


def _with_length(rows: FloatArray, length: float) -> FloatArray:
    """Returns the rows with that length each; zeros stay zeros."""
    own = np.linalg.norm(rows, axis=1, keepdims=True)
    # The least float in place of 0: rows of zeros stay zeros.
    scaled: FloatArray = (rows * (length / np.maximum(own, np.finfo(np.float32).tiny))).astype(np.float32)
    return scaled


def _sum(pairs: Sequence[Pairs]) -> str:
    """Returns the counts of several tables in one line."""
    kept, new, dropped = (
        sum(counts) for counts in zip(*((len(p.now), len(p.new), p.n_dropped) for p in pairs), strict=True)
    )
    return f"{kept:,} kept, {new:,} new, {dropped:,} dropped"
