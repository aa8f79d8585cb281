"""The exposures of a run as a head reads them: described by what was known before, scored by the towers."""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import torch

from marquee.bundle.clicks.contents import HeadSpec
from marquee.bundle.clicks.head import item_numbers
from marquee.core.arrays import BoolArray, Float64Array, FloatArray, IndexArray
from marquee.core.event_kinds import EventKind
from marquee.core.histories import gather, window_positions
from marquee.core.ids import Ids
from marquee.core.schema import TimeMeaning
from marquee.data.dataset import Dataset, QueryArrays
from marquee.data.exposures import missing_for_clicks
from marquee.data.query_features import with_context
from marquee.data.shown.delays import mean_delay, seen_share
from marquee.data.shown.describing import Described, ItemArrays, describe_exposures
from marquee.data.shown.outcomes import ShownItems, read_shown
from marquee.data.splits import Split
from marquee.features import FeatureArrays
from marquee.features.exposures.layout import countable_columns
from marquee.features.exposures.places import Places
from marquee.features.exposures.shown_before import directions
from marquee.nn.embed import embed_queries
from marquee.nn.models import TwoTower
from marquee.nn.probabilities import HeadConfig
from marquee.nn.probabilities.calibrating import Outcomes

LATER_FRACTION = 0.1
"""Share of the exposures that calibrate where the split leaves no validation part."""


@dataclass(frozen=True)
class Parts:
    """Moments that part the exposures of a head, and whether the towers know the later ones.

    Attributes:
        calibration: Exposures from here on calibrate, those before train.
        test: Exposures from here on do neither.
        is_unseen: Whether the towers have not learned from the exposures that calibrate.
    """

    calibration: int
    test: int
    is_unseen: bool


@dataclass(frozen=True)
class ScoredExposures:
    """The exposures of a run, in the order of time.

    Attributes:
        shown: Who was shown what, and what came of it.
        user_ids: Users by `shown.user`: those of the model, then those who came after its training.
        described: What was known before each.
        columns: All columns of the head, (n, n_columns) float32.
        place: Number of each one's place, (n,).
        score: Of the towers, asked with the history of that moment, (n,) float32.
        spec: How the columns are made.
        slots: Rows of the item features, (n_items + 1, n_item_slots) int64.
        numbers: Numeric item features, and whether it is an ad, (n_items + 1, n_numbers) float32.
        seen_share: Share of the conversions of a click that would have come by the end, (n,).
    """

    shown: ShownItems
    user_ids: Ids
    described: Described
    columns: FloatArray
    place: IndexArray
    score: FloatArray
    spec: HeadSpec
    slots: IndexArray
    numbers: FloatArray
    seen_share: Float64Array

    def outcomes(self, rows: BoolArray) -> Outcomes:
        """Returns some exposures as tensors."""
        shown = self.shown
        return Outcomes(
            torch.from_numpy(self.columns[rows]),
            torch.from_numpy(self.place[rows]),
            torch.from_numpy(self.score[rows]),
            torch.from_numpy(shown.is_clicked[rows].astype(np.float32)),
            torch.from_numpy(shown.is_converted[rows].astype(np.float32)),
            torch.from_numpy(self.seen_share[rows].astype(np.float32)),
        )


def why_no_head(split: Split, time: TimeMeaning) -> str:
    """Returns why the events of a run can teach no head; empty if they can."""
    if time is not TimeMeaning.absolute:
        return f"data.time is {time}, and what was known before an exposure needs moments"
    if split.cutoffs is None:
        return "the split is not by time, and a head is calibrated on later exposures than it is trained on"
    return missing_for_clicks(split.train)


def parts_of(split: Split, timestamps: IndexArray) -> Parts:
    """Returns the moments that part the exposures.

    Args:
        split: By time.
        timestamps: Of the exposures, ascending, (n,).
    """
    assert split.cutoffs is not None, "a head needs a split by time; see `why_no_head`"
    validation, test = split.cutoffs.validation, split.cutoffs.test
    if validation < test:
        return Parts(validation, test, is_unseen=not split.validation.is_empty())
    before = timestamps[timestamps < test]
    later = int(before[int(len(before) * (1 - LATER_FRACTION))]) if len(before) else test
    return Parts(later, test, is_unseen=False)


def score_exposures(
    dataset: Dataset,
    split: Split,
    model: TwoTower,
    item_vectors: FloatArray,
    settings: HeadConfig,
    places: Places | None = None,
) -> ScoredExposures:
    """Returns the exposures of all parts.

    Args:
        dataset: Gives indices, histories and features.
        split: Gives the events.
        model: Trained.
        item_vectors: Its item embeddings, (n_items + 1, dim) float32.
        settings: Of the head.
        places: Of a head that is trained already; None for those of the training part.
    """
    events = split.events
    user_ids = dataset.user_ids.extend(events["user_id"])
    shown = read_shown(_latest(events, settings.max_exposures), user_ids, dataset.item_ids)
    parts = parts_of(split, shown.timestamp)
    is_train = shown.timestamp < parts.calibration
    places = places or Places.fit(shown.surface[is_train], shown.position[is_train])
    place = places.encode(shown.surface.tolist(), shown.position.tolist())
    features = _features(dataset, shown)
    layout_columns = (
        countable_columns(dataset.query_features.encoder, is_single=True),
        countable_columns(dataset.item_encoder, is_single=False),
    )
    end = int(shown.timestamp.max(initial=0))
    delay = _delay(shown, parts, end)
    spec = HeadSpec(
        places=places.names,
        query_columns=layout_columns[0],
        item_columns=layout_columns[1],
        columns=(),
        window=settings.window,
        mean_score=0.0,
        mean_delay=delay,
    )
    layout = spec.layout(dataset.n_items)
    slots = layout.item_slots(dataset.item_features.tokens)
    n_directions = item_vectors.shape[1] - int(model.config.item_bias)
    items = ItemArrays(directions(item_vectors[:, :n_directions]), slots)
    keys = layout.keys(features.tokens[shown.request], shown.item, slots[shown.item])
    described = describe_exposures(shown, place, keys, items, layout, len(places), settings.window)
    numbers = item_numbers(dataset.item_features, dataset.catalog.is_ad)
    score = _scores(dataset, events, shown, user_ids, features, model, item_vectors)
    return ScoredExposures(
        shown=shown,
        user_ids=user_ids,
        described=described,
        columns=np.concatenate([described.columns, numbers[shown.item]], axis=1),
        place=place,
        score=score,
        spec=replace(
            spec,
            columns=(*described.names, *_number_names(numbers.shape[1])),
            mean_score=float(score[is_train].mean()) if is_train.any() else 0.0,
        ),
        slots=slots,
        numbers=numbers,
        seen_share=seen_share(np.where(shown.is_clicked, end - shown.clicked_at, 0), delay),
    )


def _latest(events: pl.DataFrame, n_exposures: int) -> pl.DataFrame:
    """Returns the events since the moment of the n-th last exposure."""
    moments = events.filter(pl.col("kind") == EventKind.exposure)["timestamp"]
    if len(moments) <= n_exposures:
        return events
    return events.filter(pl.col("timestamp") >= moments.sort()[-n_exposures])


def _number_names(n: int) -> tuple[str, ...]:
    """Returns the names of the columns of `item_numbers`."""
    return (*(f"number {column}" for column in range(n - 1)), "is ad")


def _features(dataset: Dataset, shown: ShownItems) -> FeatureArrays:
    """Returns user and context features of each request."""
    of_users = dataset.query_features.encode_users(shown.frame["user_id"].to_list())
    return with_context(of_users, dataset.query_features.encode_context(shown.frame))


def _delay(shown: ShownItems, parts: Parts, end: int) -> float:
    """Returns the mean delay of conversions, from clicks before the test part alone."""
    known = shown.is_converted & (shown.timestamp < parts.test) & (shown.converted_at < parts.test)
    click = shown.clicked_at[known]
    return mean_delay(shown.converted_at[known] - click, min(parts.test, end) - click)


def _scores(
    dataset: Dataset,
    events: pl.DataFrame,
    shown: ShownItems,
    user_ids: Ids,
    features: FeatureArrays,
    model: TwoTower,
    item_vectors: FloatArray,
) -> FloatArray:
    """Returns the score of each exposure, its user asked with the history of before the request."""
    known = dataset.known_users(events)
    history = known.interactions
    _, first = np.unique(shown.request, return_index=True)
    # By the users who did something that counts: the others have no history.
    user = np.concatenate([[0], known.user_ids.encode(user_ids.ids)])[shown.user[first]]
    moment = shown.timestamp[first]
    # Moments of the reader lie before the year 10000, below 2³⁸.
    keys = history.user_index * (1 << 38) + history.timestamp
    ends = np.searchsorted(keys, user * (1 << 38) + moment)
    positions = window_positions(history.offsets[user], ends, dataset.history_length)
    queries = QueryArrays(
        np.where(user <= dataset.n_users, user, 0),  # those beyond have no learned vector
        features.tokens,
        features.numeric,
        gather(history.item_index, positions).astype(np.int64),
        gather(history.kind_index, positions).astype(np.int64),
    )
    embedded = embed_queries(model, item_vectors, queries)  # (n_requests, dim)
    scores: FloatArray = np.einsum("nd,nd->n", embedded[shown.request], item_vectors[shown.item])
    return scores
