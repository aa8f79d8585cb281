"""The training part as every process of a training reads it: arrays that are mapped, not copied.

Rank 0 prepares the data and writes what the others need into a folder of the run; they map it, so that the
processes of a machine hold one copy between them. On several machines the folder must be on storage that all
of them see. Ids and names stay with rank 0, which alone has anything to name.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from marquee.core.event_kinds import EventKinds, KindConfig
from marquee.core.histories import Interactions
from marquee.features import FeatureArrays, FeatureEncoder
from training.config import TrainConfig, as_plain

FACTS_FILE, CONFIG_FILE = "part.json", "config.json"
EVENTS = ("offsets", "item_index", "kind_index", "timestamp", "weight")
FEATURES = ("train_context", "user_features", "item_features")

Array = npt.NDArray[np.generic]


class TrainingPart(Protocol):
    """All of a data set that a process reads which trains, and neither judges nor names anything."""

    @property
    def n_users(self) -> int:
        """Users of the training part."""
        ...

    @property
    def n_items(self) -> int:
        """Items of the catalog."""
        ...

    @property
    def n_trained_items(self) -> int:
        """Items of the training part."""
        ...

    @property
    def kinds(self) -> EventKinds:
        """Event kinds that count."""
        ...

    @property
    def train(self) -> Interactions:
        """Interactions of the training part."""
        ...

    @property
    def train_context(self) -> FeatureArrays | None:
        """Context features of each of them."""
        ...

    @property
    def query_encoder(self) -> FeatureEncoder:
        """Of user and context features."""
        ...

    @property
    def user_features(self) -> FeatureArrays:
        """Of the users of training, (n_users + 1) rows."""
        ...

    @property
    def item_encoder(self) -> FeatureEncoder:
        """Of item features."""
        ...

    @property
    def item_features(self) -> FeatureArrays:
        """Of all items, (n_items + 1) rows."""
        ...

    @property
    def history_length(self) -> int:
        """Longest history a model sees."""
        ...


@dataclass(frozen=True)
class SharedPart:
    """A training part out of a folder that `share` wrote; see `TrainingPart`."""

    n_users: int
    n_items: int
    n_trained_items: int
    kinds: EventKinds
    train: Interactions
    train_context: FeatureArrays | None
    query_encoder: FeatureEncoder
    user_features: FeatureArrays
    item_encoder: FeatureEncoder
    item_features: FeatureArrays
    history_length: int

    @classmethod
    def read(cls, folder: Path, kinds: Mapping[str, KindConfig]) -> "SharedPart":
        """Returns the part of a folder, its arrays mapped.

        Args:
            folder: That `share` wrote.
            kinds: Of the config of the data.
        """
        facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
        arrays = {name: _map(folder, name, where) for name, where in facts["arrays"].items()}
        context, users, items = (_features(arrays, name) for name in FEATURES)
        assert users is not None, f"expected features of users in {folder}"
        assert items is not None, f"expected features of items in {folder}"
        return cls(
            **facts["counts"],
            kinds=EventKinds(dict(kinds)),
            train=Interactions(**{name: arrays[name] for name in EVENTS}),  # type: ignore[arg-type] # of the type that was written
            train_context=context,
            query_encoder=FeatureEncoder.from_json(facts["query_encoder"]),
            user_features=users,
            item_encoder=FeatureEncoder.from_json(facts["item_encoder"]),
            item_features=items,
        )


def share(part: TrainingPart, folder: Path) -> None:
    """Writes what other processes need of a training part; an array that lies in a file is only named."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Array] = {name: getattr(part.train, name) for name in EVENTS}
    for name in FEATURES:
        features = getattr(part, name)
        if features is not None:
            arrays |= {f"{name}.tokens": features.tokens, f"{name}.numeric": features.numeric}
    counts = ("n_users", "n_items", "n_trained_items", "history_length")
    facts = {
        "counts": {name: getattr(part, name) for name in counts},
        "arrays": {name: _where(folder, name, array) for name, array in arrays.items()},
        "query_encoder": part.query_encoder.to_json(),
        "item_encoder": part.item_encoder.to_json(),
    }
    (folder / FACTS_FILE).write_text(json.dumps(facts), encoding="utf-8")


def share_config(config: TrainConfig, folder: Path) -> None:
    """Writes a config and the class of each of its parts, which its values alone do not tell."""
    classes = {f.name: type(getattr(config, f.name)).__name__ for f in fields(config)}
    text = json.dumps({"classes": classes, "values": as_plain(config)})
    (folder / CONFIG_FILE).write_text(text, encoding="utf-8")


def _where(folder: Path, name: str, array: Array) -> dict[str, Any]:  # Any: paths, numbers, shapes
    """Returns where the others find an array; writes it unless a file holds all of it already."""
    if isinstance(array, np.memmap) and array.filename is not None and array.flags.c_contiguous:
        # A part of a mapping keeps the name of the file and no longer its own place in it.
        base = array.base
        if not isinstance(base, np.memmap) and array.size:
            place = {"path": str(Path(array.filename).resolve()), "offset": int(array.offset)}
            return {**place, "dtype": array.dtype.str, "shape": list(array.shape)}
    np.save(folder / f"{name}.npy", array)
    return {"shape": list(array.shape)}


def _map(folder: Path, name: str, where: Mapping[str, Any]) -> Array:
    """Returns an array that `_where` has placed, mapped."""
    if "path" not in where:
        # Nothing can be mapped of an empty array. Copied when written to: torch takes no other arrays.
        mode: Literal["c"] | None = None if 0 in where["shape"] else "c"
        written: Array = np.load(folder / f"{name}.npy", mmap_mode=mode)
        return written
    shape = tuple(where["shape"])
    return np.memmap(where["path"], dtype=where["dtype"], mode="c", offset=where["offset"], shape=shape)


def _features(arrays: Mapping[str, Array], name: str) -> FeatureArrays | None:
    """Returns the features of a name, None where there are none."""
    if f"{name}.tokens" not in arrays:
        return None
    return FeatureArrays(arrays[f"{name}.tokens"], arrays[f"{name}.numeric"])  # type: ignore[arg-type] # of the type that was written
