"""The names of the rows of a trained model: a row is found by its name, never by its place.

The files of a data set change: rows come, go and are renamed. A later command gives the model the ids and the
features that it was trained with, and refuses where today's data cannot be what the model learned from.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from marquee.core.ids import IdMap
from marquee.data.dataset import Dataset, Fitted
from marquee.errors import ConfigError, DataError
from marquee.features import FeatureEncoder
from marquee.store.files import replace_file

NAMES_FILE = "names.json"
_SHOWN = 5


@dataclass(frozen=True)
class Names:
    """The names of the rows of a run's tables.

    Attributes:
        users: Of the user table, from row 1 on.
        items: Of the item table, from row 1 on.
        kinds: Of the kind tables, from row 1 on.
        query_features: Of the query tower's token table and numbers.
        item_features: Of the item tower's.
        train: Checksum of the training events in terms of these names; empty in runs of earlier versions.
        described: Checksum of the features of users and items; empty likewise.
    """

    users: Sequence[str]
    items: Sequence[str]
    kinds: Sequence[str]
    query_features: FeatureEncoder
    item_features: FeatureEncoder
    train: str = ""
    described: str = ""

    @classmethod
    def of(cls, dataset: Dataset) -> "Names":
        """Returns the names of a model's rows that is trained on a data set."""
        return cls(
            dataset.user_ids.ids,
            # New items of the items table have features and no row.
            dataset.item_ids.ids[: dataset.n_trained_items],
            dataset.kinds.names,
            dataset.query_features.encoder,
            dataset.item_encoder,
            _checksum(dataset),
            _checksum_of_features(dataset),
        )

    def write(self, folder: Path) -> None:
        """Writes the names into a run folder."""
        names = {
            "users": list(self.users),
            "items": list(self.items),
            "kinds": list(self.kinds),
            "query_features": self.query_features.to_json(),
            "item_features": self.item_features.to_json(),
            "train": self.train,
            "described": self.described,
        }
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / NAMES_FILE, json.dumps(names).encode())

    @classmethod
    def read(cls, folder: Path) -> "Names":
        """Returns the names that a run wrote.

        Raises:
            ConfigError: If it wrote none.
        """
        path = folder / NAMES_FILE
        if not path.is_file():
            raise ConfigError(
                f"run {str(folder)!r} holds no {NAMES_FILE}, expected a run that says what its rows stand "
                "for; train it again with `python -m training.train`"
            )
        names = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            names["users"],
            names["items"],
            names["kinds"],
            FeatureEncoder.from_json(names["query_features"]),
            FeatureEncoder.from_json(names["item_features"]),
            # Runs of earlier versions have no checksums: they compare as equal to anything.
            names.get("train", ""),
            names.get("described", ""),
        )

    @property
    def fitted(self) -> Fitted:
        """The same as a data set takes it, to make arrays for the model that was trained."""
        # In the order of the training: a row of the model is a place in these lists.
        return Fitted(
            IdMap(tuple(self.users)), IdMap(tuple(self.items)), self.query_features, self.item_features
        )

    def differences(self, now: "Names") -> tuple[str, ...]:
        """Returns in words what of these names is another in `now`; nothing where every row is the same."""
        lists = {
            "users": (self.users, now.users),
            "items": (self.items, now.items),
            "kinds": (self.kinds, now.kinds),
        }
        found = [f"{what}: {compare_names(before, after)}" for what, (before, after) in lists.items()]
        # Lists that are the same leave no words behind their name.
        found = [words for words in found if not words.endswith(": ")]
        for before, after in (
            (self.query_features, now.query_features),
            (self.item_features, now.item_features),
        ):
            others = _other_features(before, after)
            found += [f"features with other values or settings: {_some(others)}"] if others else []
        return tuple(found)

    def changes(self, now: "Names") -> tuple[str, ...]:
        """Returns in words what is another under the same names; nothing where all is the same."""
        found = {
            "the training events of the same users and items are others": (self.train, now.train),
            "the features of the same users and items are others": (self.described, now.described),
        }
        return tuple(words for words, (before, after) in found.items() if before and before != after)

    def require_same(self, now: "Names", what: str) -> None:
        """Raises DataError unless a data set has the very rows that this run was trained on.

        Args:
            now: Of the data set as it is now.
            what: What cannot be done otherwise.
        """
        # Other rows explain another checksum: only one of the two is told.
        differences = self.differences(now) or self.changes(now)
        if differences:
            raise DataError(
                f"{what} needs the data that the run was trained on, got others: {'; '.join(differences)}; "
                "put back the data that it was trained on, or train again"
            )


def _checksum(dataset: Dataset) -> str:
    """Returns a checksum of the training events: who, what, when, which kind, in order."""
    train, sha = dataset.train, hashlib.sha256()
    for column in (train.offsets, train.item_index, train.kind_index, train.timestamp):
        # Eight bytes of each, as runs of earlier versions have summed them.
        sha.update(column.astype(np.int64, copy=False).tobytes())
    return sha.hexdigest()


def _checksum_of_features(dataset: Dataset) -> str:
    """Returns a checksum of the features of the users and items of training, as the model reads them."""
    sha = hashlib.sha256()
    n_rows = dataset.n_trained_items + 1  # the first is padding
    for features in (dataset.item_features.take(np.arange(n_rows)), dataset.query_features.of_users):
        sha.update(features.tokens.tobytes())
        sha.update(features.numeric.tobytes())
    return sha.hexdigest()


def compare_names(before: Sequence[str], after: Sequence[str]) -> str:
    """Describes the names that came and went between two lists; "" where they are the same."""
    then, now = set(before), set(after)
    parts = [
        f"{len(names):,} {word} ({_some(sorted(names))})"
        for names, word in ((now - then, "new"), (then - now, "gone"))
        if names
    ]
    # Rows are places: the same names in another order are other rows.
    if not parts and list(before) != list(after):
        return "the same in another order"
    return ", ".join(parts)


def _other_features(before: FeatureEncoder, after: FeatureEncoder) -> list[str]:
    """Returns the features of either encoder that the other lacks or has otherwise."""
    then, now = (_by_name(encoder) for encoder in (before, after))
    return sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))


def _by_name(encoder: FeatureEncoder) -> dict[str, Any]:  # Any: whatever JSON holds
    """Returns each feature as JSON has it, so that one read compares with one fitted."""
    return {feature.name: json.dumps(FeatureEncoder((feature,)).to_json()) for feature in encoder.features}


def _some(names: Sequence[str]) -> str:
    """Returns the first of some names."""
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
