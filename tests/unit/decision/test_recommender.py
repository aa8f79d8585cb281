"""The sources of an answer, its exclusions, and how it states both."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from marquee.bundle.graphs import QUERY_INPUTS
from marquee.bundle.publishing import publish
from marquee.core.catalog import ItemKind
from marquee.core.event_kinds import EventKinds, KindConfig
from marquee.core.histories import Interactions
from marquee.core.ids import IdMap
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Answer, HistoryEvent, Request, Source, Stage
from marquee.errors import BundleNotFoundError, DataError, UnknownIdError
from marquee.features import FeatureConfig, FeatureEncoder, FeatureType
from marquee.index.building import build_index
from tests.support.bundles import (
    CLOSES,
    CREATED,
    HISTORY_LENGTH,
    N_ITEMS,
    N_USERS,
    NOW,
    OPENS,
    make_tiny,
    publish_tiny,
)

Load = Callable[..., Recommender]


@pytest.fixture(scope="module")
def recommender(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    return Recommender.load(publish_tiny(tmp_path_factory.mktemp("bundles")))


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Publishes a tiny bundle whose tower has some inputs, with some changed contents, and loads it."""

    def publish_and_load(inputs: frozenset[str] = QUERY_INPUTS, **changes: object) -> Recommender:
        contents = replace(make_tiny(inputs=inputs).contents, **changes)  # type: ignore[arg-type]  # any field
        return Recommender.load(publish(contents, tmp_path, "tiny", created=CREATED))

    return publish_and_load


def ask(recommender: Recommender, **fields: object) -> Answer:
    """Returns the answer to one request."""
    return recommender.recommend([Request(**{"timestamp": NOW, **fields})])[0]  # type: ignore[arg-type]


def ids(answer: Answer) -> list[str]:
    return [item.item_id for item in answer.items]


def clicks(*item_ids: str) -> tuple[HistoryEvent, ...]:
    return tuple(HistoryEvent(item_id) for item_id in item_ids)


@pytest.mark.parametrize(
    ("fields", "source"),
    [
        ({"user_id": "u1"}, Source.personal),
        ({"user_id": "u1", "history": clicks("i001"), "features": {"city": "oslo"}}, Source.personal),
        ({"user_id": "stranger", "history": clicks("i001")}, Source.history),
        ({"history": clicks("i001"), "features": {"city": "oslo"}}, Source.history),
        ({"user_id": "stranger", "features": {"city": "oslo"}}, Source.features),
        ({"context": {"device": "phone"}}, Source.features),
        ({"features": {"city": "never seen"}}, Source.popular),
        ({"features": {"shoe": 42}, "history": clicks("unknown")}, Source.popular),
        ({"history": (HistoryEvent("i001", "exposure"),)}, Source.popular),
        ({"user_id": "stranger"}, Source.popular),
        ({}, Source.popular),
    ],
)
def test_source_names_the_best_there_was_to_go_by(
    recommender: Recommender, fields: dict[str, object], source: Source
) -> None:
    answer = ask(recommender, **fields)
    assert (answer.source, answer.fallback_reason) == (source, None)


@pytest.mark.parametrize(
    ("inputs", "sources"),
    [
        ({"user_vector"}, [Source.personal, Source.popular, Source.popular]),
        ({"history_vectors", "history_kinds"}, [Source.personal, Source.history, Source.popular]),
        ({"tokens", "numeric"}, [Source.personal, Source.popular, Source.features]),
    ],
)
def test_source_counts_only_what_the_tower_takes(load: Load, inputs: set[str], sources: list[Source]) -> None:
    recommender = load(frozenset(inputs))
    asked: list[dict[str, object]] = [
        {"user_id": "u1"}, {"history": clicks("i001")}, {"features": {"city": "oslo"}}
    ]  # fmt: skip
    assert [ask(recommender, **fields).source for fields in asked] == sources


def test_known_user_of_whom_nothing_was_learned_gets_what_is_popular(load: Load) -> None:
    contents = make_tiny().contents
    blank = contents.query_features.encode({}, len(contents.user_ids) + 1)
    recommender = load(user_features=blank, user_vectors=np.zeros_like(contents.user_vectors))
    assert ask(recommender, user_id="u6").source is Source.popular  # the one without a history
    assert ask(recommender, user_id="u5").source is Source.personal


def test_given_history_follows_the_stored_one(recommender: Recommender) -> None:
    tiny = make_tiny()
    stored = tiny.contents.interactions
    events = slice(stored.offsets[1], stored.offsets[2])
    known = list(zip(stored.item_index[events].tolist(), stored.kind_index[events].tolist(), strict=True))
    row = tiny.contents.user_features.take(np.array([1]))
    expected = tiny.query(1, [*known, (7, 1), (9, 3)], row.tokens[0].tolist(), row.numeric[0].tolist())
    request = Request(
        timestamp=NOW, user_id="u1", history=(HistoryEvent("i007"), HistoryEvent("i009", "rating", 5.0))
    )
    assert recommender.queries.encode([request]).embeddings.tolist() == [expected.tolist()]


def test_event_without_a_kind_is_of_the_first_one_parted_by_value(load: Load) -> None:
    kinds = EventKinds({"rating": KindConfig(edges=[4.0]), "click": KindConfig()})
    recommender, tiny = load(kinds=kinds), make_tiny()
    nothing = tiny.contents.query_features.encode_one({})
    for event, row in ((HistoryEvent("i001", value=5.0), 2), (HistoryEvent("i001"), 1), ("i001", 1)):
        request = Request(timestamp=NOW, history=(event,))
        embedding = recommender.queries.encode([request]).embeddings[0]
        expected = tiny.query(0, [(1, row)], nothing.tokens[0].tolist(), nothing.numeric[0].tolist())
        assert embedding.tolist() == expected.tolist()


def test_only_the_latest_known_events_reach_the_tower(recommender: Recommender) -> None:
    latest = clicks(*[f"i{number:03d}" for number in range(1, HISTORY_LENGTH + 1)])
    longer = (*clicks("i020", "i021"), *latest[:2], *clicks("unknown"), *latest[2:])
    long, short = (
        recommender.queries.encode([Request(timestamp=NOW, history=history)]) for history in (longer, latest)
    )
    assert long.embeddings.tolist() == short.embeddings.tolist()
    assert (long.unknown_history, len(long.seen[0])) == ((1,), HISTORY_LENGTH + 3)


def test_request_features_stand_in_for_the_stored_ones(recommender: Recommender) -> None:
    moved = Request(timestamp=NOW, user_id="u1", features={"city": "rome"}, context={"device": "desk"})
    tiny = make_tiny()
    row = tiny.contents.query_features.encode_one({"age": 20, "city": "rome", "device": "desk"})
    at_home, abroad = recommender.queries.encode([Request(timestamp=NOW, user_id="u1"), moved]).embeddings
    stored = tiny.contents.user_features.take(np.array([1]))
    difference = tiny.query(0, (), row.tokens[0].tolist(), row.numeric[0].tolist()) - tiny.query(
        0, (), stored.tokens[0].tolist(), stored.numeric[0].tolist()
    )
    assert (abroad - at_home).tolist() == difference.tolist()


def test_unread_features_are_named(recommender: Recommender) -> None:
    answer = ask(recommender, features={"shoe": 42, "city": "oslo"}, context={"mood": "good"})
    assert answer.ignored_features == ("mood", "shoe")


def test_unknown_history_is_counted(recommender: Recommender) -> None:
    assert ask(recommender, history=clicks("i001", "nope", "i002", "nada")).unknown_history == 2


@pytest.mark.parametrize("user_id", [None, "u1"])
def test_nothing_excluded_unavailable_or_of_another_kind_is_returned(
    recommender: Recommender, user_id: str | None
) -> None:
    answer = ask(
        recommender,
        timestamp=CLOSES,
        user_id=user_id,
        k=N_ITEMS,
        kind=ItemKind.ad,
        exclude=("i004", "nobody knows"),
        exclude_seen=False,
    )
    # Ads are 4, 8, …, 24; 4 is excluded, 12 and 24 have closed.
    assert sorted(ids(answer)) == ["i008", "i016", "i020"]
    assert {item.kind for item in answer.items} == {ItemKind.ad}
    assert answer.short_reason == (
        "4 items of kind ad are available at this time and 1 of them are excluded, which leaves 3 of the 24 "
        "requested"
    )


def test_item_opens_and_closes_on_time(recommender: Recommender) -> None:
    def is_returned(number: int, timestamp: int) -> bool:
        return f"i{number:03d}" in ids(ask(recommender, timestamp=timestamp, k=N_ITEMS))

    assert [is_returned(5, OPENS - 1), is_returned(5, OPENS)] == [False, True]
    assert [is_returned(6, CLOSES - 1), is_returned(6, CLOSES)] == [True, False]


def test_seen_items_are_excluded_by_choice(recommender: Recommender) -> None:
    history = clicks("i001", "i002")
    without = ask(recommender, user_id="u1", history=history, k=N_ITEMS)
    everything = ask(recommender, user_id="u1", history=history, k=N_ITEMS, exclude_seen=False)
    stored = make_tiny().contents.interactions
    seen = {f"i{item:03d}" for item in stored.item_index[stored.offsets[1] : stored.offsets[2]].tolist()}
    assert set(ids(everything)) - set(ids(without)) == seen | {"i001", "i002"}


def test_popular_answer_is_sorted_by_share(recommender: Recommender) -> None:
    answer = ask(recommender, k=5)
    popularity = make_tiny().contents.popularity
    order = np.argsort(-popularity[1:], kind="stable")[:5] + 1
    assert [(int(item.item_id[1:]), item.score) for item in answer.items] == [
        (item, popularity[item]) for item in order.tolist()
    ]


def test_popular_answer_looks_past_the_excluded(recommender: Recommender) -> None:
    exclude = tuple(f"i{number:03d}" for number in range(1, N_ITEMS))
    answer = ask(recommender, k=1, exclude=exclude * 3)
    assert (ids(answer), answer.short_reason) == ([f"i{N_ITEMS:03d}"], None)


def test_popular_answer_looks_past_other_kinds(load: Load) -> None:
    popularity = np.arange(N_ITEMS + 1, 0, -1, dtype=np.float32)
    popularity[[4, 8, 12, 16, 20, 24]] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]  # the ads are last
    answer = ask(load(popularity=popularity), k=1, kind=ItemKind.ad)
    assert ids(answer) == ["i024"]


@pytest.mark.parametrize("value", [np.nan, -np.inf, 3e38])
def test_embedding_that_is_not_finite_falls_back_alone(load: Load, value: float) -> None:
    user_vectors = make_tiny().contents.user_vectors.copy()
    user_vectors[2] = value
    recommender = load(user_vectors=user_vectors)
    good, bad, other = recommender.recommend(
        [Request(timestamp=NOW, user_id=user_id, k=3) for user_id in ("u1", "u2", "u3")]
    )
    assert (bad.source, bad.fallback_reason) == (
        Source.popular, "the embedding of this personal request is not finite"
    )  # fmt: skip
    assert [np.isfinite(item.score) for item in bad.items] == [True] * 3
    assert [good, other] == [ask(recommender, user_id=user_id, k=3) for user_id in ("u1", "u3")]


def test_answers_come_in_the_order_of_their_requests(recommender: Recommender) -> None:
    requests = [
        Request(timestamp=NOW + 60 * (number % 2), k=number, user_id=f"u{number}", kind=kind)
        for number, kind in enumerate([ItemKind.ad, None, ItemKind.content, None], start=1)
    ]
    answers = recommender.recommend(requests)
    assert answers == [recommender.recommend([request])[0] for request in requests]
    assert [answer.requested for answer in answers] == [1, 2, 3, 4]
    assert recommender.recommend([]) == []


def test_each_stage_is_told_when_it_has_ended(recommender: Recommender) -> None:
    told: list[Stage] = []
    recommender.recommend([Request(timestamp=NOW), Request(timestamp=NOW, user_id="u1")], told.append)
    assert told == list(Stage)


def test_enormous_k_returns_what_there_is(recommender: Recommender) -> None:
    answer = ask(recommender, user_id="u1", k=10**12, exclude_seen=False)
    assert (len(answer.items), answer.requested) == (N_ITEMS, 10**12)


def test_answer_may_be_empty(recommender: Recommender) -> None:
    everything = tuple(f"i{number:03d}" for number in range(1, N_ITEMS + 1))
    for user_id, source in ((None, Source.popular), ("u1", Source.personal)):
        answer = ask(recommender, user_id=user_id, exclude=everything)
        assert (answer.items, answer.source, answer.fallback_reason) == ((), source, None)
        assert answer.short_reason is not None


def test_bundle_without_users_features_or_interactions_answers(load: Load) -> None:
    nothing, none = FeatureEncoder(()), np.zeros(0, dtype=np.int64)
    no_events = Interactions.group(none, none, none, none, none.astype(np.float32), n_users=0)
    recommender = load(
        frozenset({"history_vectors", "history_kinds"}),
        user_ids=IdMap(()),
        user_vectors=np.zeros((1, 4), dtype=np.float32),
        user_features=nothing.encode({}, 1),
        query_features=nothing,
        item_features=nothing,
        interactions=no_events,
        popularity=np.zeros(N_ITEMS + 1, dtype=np.float32),
    )
    assert ask(recommender, user_id="u1").source is Source.popular
    assert ask(recommender, history=clicks("i001"), features={"city": "oslo"}).source is Source.history


def test_similar_items_never_hold_the_item_itself(recommender: Recommender) -> None:
    answer = recommender.similar(f"i{N_ITEMS:03d}", k=N_ITEMS, timestamp=NOW)
    assert answer.source is Source.similar
    assert answer.items[0].item_id == f"i{N_ITEMS - 1:03d}"  # has the same vector
    assert answer.items[0].score == pytest.approx(1.0)
    assert (f"i{N_ITEMS:03d}" in ids(answer), len(answer.items)) == (False, N_ITEMS - 1)
    assert answer.short_reason is not None


def test_bias_does_not_count_as_likeness(tmp_path: Path) -> None:
    contents = make_tiny(has_item_bias=True).contents
    loved = contents.index.item_vectors.copy()
    loved[:, -1] = np.arange(len(loved))
    biased = publish_tiny(
        tmp_path, seed=0, index=build_index(loved, contents.index.config), has_item_bias=True
    )
    plain = loved.copy()
    plain[:, -1] = 0.0
    unbiased = publish_tiny(tmp_path, seed=0, index=build_index(plain, contents.index.config))
    answers = [
        Recommender.load(path).similar("i001", k=8, timestamp=NOW).items for path in (biased, unbiased)
    ]
    assert answers[0] == answers[1]


def test_item_without_an_embedding_is_like_what_is_popular(tmp_path: Path) -> None:
    contents = make_tiny().contents
    vectors = contents.index.item_vectors.copy()
    vectors[3] = 0.0
    path = publish_tiny(tmp_path, index=build_index(vectors, contents.index.config))
    answer = Recommender.load(path).similar("i003", k=3, timestamp=NOW)
    assert (answer.source, answer.fallback_reason) == (Source.popular, "'i003' has no embedding")
    assert len(answer.items) == 3


def test_impossible_similar_requests_are_refused(recommender: Recommender) -> None:
    with pytest.raises(UnknownIdError, match=r"item_id must be one of the 24 items of bundle .*, got 'nope'"):
        recommender.similar("nope", timestamp=NOW)
    with pytest.raises(DataError, match="k must be 1 or more, got 0"):
        recommender.similar("i001", k=0, timestamp=NOW)


def test_missing_bundle_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFoundError):
        Recommender.load(tmp_path)


def test_loading_a_recommender_loads_no_training_code(tmp_path: Path) -> None:
    path = publish(make_tiny().contents, tmp_path, "tiny", created=CREATED)
    code = (
        "import sys; from marquee.decision.recommender import Recommender, Request; "
        f"r = Recommender.load({str(path)!r}); r.recommend([Request(timestamp=0)]); "
        "print(sorted({'torch', 'onnx', 'hydra', 'lightning', 'bentoml', 'matplotlib'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("fields", "popular_in"),
    [
        ({"context": {"surface": "home"}}, "surface=home"),
        ({"features": {"surface": "home"}}, "surface=home"),
        ({"context": {"surface": "video"}}, "surface=video"),
        ({"surface": "video"}, "surface=video"),
        ({"surface": "attic", "context": {"surface": "video"}}, "surface=video"),
        ({"context": {"surface": "attic"}}, None),
        ({"timestamp": 86_400 * 20_000}, "hour=0"),
        ({"timestamp": 86_400 * 20_000, "context": {"surface": "home"}}, "surface=home"),
        ({}, None),
    ],
)
@pytest.mark.parametrize("k", [1, 3, N_ITEMS])
def test_popular_answer_is_that_of_its_context(
    recommender: Recommender, fields: dict[str, object], popular_in: str | None, k: int
) -> None:
    contents = make_tiny().contents
    shares = contents.popularity.copy()
    if popular_in is not None:
        tables = contents.context_popularity
        row = tables.values.index(tuple(popular_in.split("=")))
        part = slice(*tables.offsets[row : row + 2])
        shares *= np.float32(tables.rests[row])
        shares[tables.items[part]] = tables.shares[part]
    timestamp = int(str(fields.get("timestamp", NOW)))
    allowed = np.flatnonzero(contents.catalog.allowed(None, timestamp).flags)
    expected = allowed[np.lexsort((allowed, -shares[allowed]))][:k]
    answer = ask(recommender, **fields, k=k)
    assert (answer.source, answer.popular_in) == (Source.popular, popular_in)
    assert ids(answer) == contents.catalog.item_ids.decode(expected)
    assert [item.score for item in answer.items] == pytest.approx(shares[expected].tolist())


def test_context_of_a_popular_answer_keeps_exclusions_out(recommender: Recommender) -> None:
    answer = ask(recommender, context={"surface": "home"}, exclude=["i007"], k=3)
    assert answer.popular_in == "surface=home"
    assert "i007" not in ids(answer)


def test_answer_that_is_not_popular_names_no_context(recommender: Recommender) -> None:
    assert ask(recommender, user_id="u1", context={"surface": "home"}).popular_in is None
    assert recommender.similar("i001", timestamp=NOW).popular_in is None


def test_surface_feeds_a_feature_of_its_name(load: Load) -> None:
    configs = {"age": FeatureConfig(type=FeatureType.numeric), "surface": FeatureConfig()}
    encoder = FeatureEncoder.fit(configs, {"age": [20, 60], "surface": ["home", "video"]})
    users = encoder.encode({"age": [None] * (N_USERS + 1)}, N_USERS + 1)
    recommender = load(query_features=encoder, user_features=users)
    assert ask(recommender, surface="home").source is Source.features
    assert ask(recommender, surface="attic").source is Source.popular
    by_surface = recommender.queries.encode([Request(timestamp=NOW, surface="home")]).embeddings
    by_context = recommender.queries.encode([Request(timestamp=NOW, context={"surface": "home"})]).embeddings
    assert by_surface.tolist() == by_context.tolist()
    assert ask(recommender, surface="home").ignored_features == ()
