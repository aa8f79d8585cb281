"""`python -m training.score bundle=…`: parts that are completed, users that are given, and what differs."""

import importlib
from collections.abc import Mapping
from pathlib import Path

import msgspec
import polars as pl
import pytest
from hydra import compose, initialize_config_dir

from marquee.core.user_hash import buckets_of, hash_ids
from marquee.decision.recommender import Recommender
from marquee.decision.requests import HistoryEvent, Request
from marquee.errors import ConfigError, DataError
from marquee.store.scores.folder import ScoreFolder, ScoreManifest
from tests.support.bundles import N_USERS, NOW, publish_tiny
from training.cli.command import as_object
from training.cli.console import open_console
from training.cli.menu import CONFIGS
from training.distributed.config import LocalClusterConfig, RayClusterConfig
from training.score.changes import changes_between
from training.score.config import ScoreConfig
from training.score.parts import score_part, scoring_tasks
from training.score.terms import ScoreTerms, not_scored
from training.score.users import score_bundle

KNOWN = {f"u{number}" for number in range(1, N_USERS + 1)}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_tiny(tmp_path_factory.mktemp("bundles"))


def scored(bundle: Path, to: Path, **fields: object) -> pl.DataFrame:
    """Scores in this process, part by part, as the tasks would, and returns all parts."""
    config = ScoreConfig(bundle=str(bundle), to=str(to), **{"at": NOW, **fields})  # type: ignore[arg-type]
    terms = ScoreTerms.of(config, config.at)
    folder = ScoreFolder(to, ScoreManifest(version="", timestamp=NOW, n_buckets=2, terms={}))
    users = Path(config.users) if config.users else None
    leave_out = Path(config.leave_out) if config.leave_out else None
    (to / "parts").mkdir(parents=True)
    for task in scoring_tasks(
        folder, bundle / "manifest.json", terms, users=users, leave_out=leave_out, keys=""
    ):
        score_part(task.output, task.inputs, **task.arguments)  # type: ignore[arg-type]
    return pl.read_parquet(to / "parts" / "*.parquet")


def files_of(folder: Path) -> Mapping[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "parts").glob("*.parquet"))}


def test_killed_scoring_is_completed_and_counted(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = LocalClusterConfig(processes=1)
    first = ScoreConfig(
        bundle=str(bundle.parent), to=str(tmp_path / "a"), k=5, buckets=3, at=NOW, cluster=cluster
    )
    score_bundle(first, open_console())
    whole = files_of(tmp_path / "a")
    (tmp_path / "a" / "parts" / "part-00001.parquet").unlink()
    (tmp_path / "a" / "summary.json").unlink()

    # The moment is that of the first start, though none is named.
    again = ScoreConfig(bundle=str(bundle.parent), to=str(tmp_path / "a"), k=5, buckets=3, cluster=cluster)
    score_bundle(again, open_console())
    later = ScoreConfig(
        bundle=str(bundle),
        to=str(tmp_path / "b"),
        k=5,
        at=NOW + 1000,
        against=str(tmp_path / "a"),
        cluster=cluster,
    )
    score_bundle(later, open_console())

    assert files_of(tmp_path / "a") == whole
    assert "in 3 parts, 2 of them were there" in capsys.readouterr().out
    counts = msgspec.json.decode((tmp_path / "b" / "summary.json").read_bytes())
    before = pl.read_parquet(tmp_path / "a" / "parts" / "*.parquet")
    after = pl.read_parquet(tmp_path / "b" / "parts" / "*.parquet")
    changes = pl.read_parquet(tmp_path / "b" / "changes" / "*.parquet")
    assert changes.sort("user_id", "item_id").equals(changes_between(before, after))
    assert counts["users"] == N_USERS
    assert counts["changes"]["entered"] == changes.filter(change="entered").height > 0
    for bucket in range(3):
        part = pl.read_parquet(tmp_path / "a" / "parts" / f"part-{bucket:05}.parquet")
        assert set(buckets_of(hash_ids(part["user_id"]), 3).tolist()) <= {bucket}


def test_table_of_users_gives_histories_and_attributes(bundle: Path, tmp_path: Path) -> None:
    pl.DataFrame(
        {
            "user_id": ["u1", "new", None, "u1", ""],
            "history": [[], ["i003", "i004"], [], [], []],
            "age": [None, 20.0, None, 30.0, None],
        },
        schema_overrides={"history": pl.List(pl.String)},
    ).write_parquet(tmp_path / "users.parquet")

    rows = scored(bundle, tmp_path / "to", users=str(tmp_path / "users.parquet"), k=4)

    asked = {
        "u1": Request(timestamp=NOW, k=4, user_id="u1"),
        "new": Request(timestamp=NOW, k=4, user_id="new", history=("i003", "i004"), features={"age": 20.0}),
    }
    answers = dict(zip(asked, Recommender.load(bundle).recommend(list(asked.values())), strict=True))
    assert {row["user_id"]: row["items"] for row in rows.rows(named=True)} == {
        user: [item.item_id for item in answer.items] for user, answer in answers.items()
    }


def test_events_of_a_history_keep_kind_and_value(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "users.jsonl").write_text(
        '{"user_id": "new", "history": [{"item_id": "i004", "kind": "rating", "value": 5.0}]}\n'
    )

    (items,) = scored(bundle, tmp_path / "to", users=str(tmp_path / "users.jsonl"))["items"].to_list()

    request = Request(timestamp=NOW, user_id="new", history=(HistoryEvent("i004", "rating", 5.0),))
    (answer,) = Recommender.load(bundle).recommend([request])
    assert items == [item.item_id for item in answer.items]


def test_who_is_left_out_has_no_row(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "erased.txt").write_text("u2\nu5\n")

    rows = scored(bundle, tmp_path / "to", leave_out=str(tmp_path / "erased.txt"))

    assert set(rows["user_id"]) == KNOWN - {"u2", "u5"}


def test_exact_scores_need_no_index(bundle: Path, tmp_path: Path) -> None:
    as_served, exact = (
        scored(bundle, tmp_path / name, exact=name == "exact") for name in ("served", "exact")
    )

    assert as_served.equals(exact)


@pytest.mark.parametrize(
    ("name", "text", "error", "words"),
    [
        ("users.parquet", "no parquet", DataError, "users in .* cannot be read"),
        ("users.txt", "u1", DataError, "must be a file that ends in one of"),
        ("users.jsonl", '{"name": "u1"}', DataError, "must have a column user_id, got \\['name'\\]"),
        ("users.csv", "user_id,age\nu1,3\n", DataError, "a CSV of users holds ids alone"),
        ("users.jsonl", '{"user_id": "u1", "shoe": 43}', DataError, "column shoe, which no feature"),
        (
            "users.jsonl",
            '{"user_id": "u1", "history": "i001"}',
            DataError,
            "history of user 'u1' must be a list",
        ),
        (
            "users.jsonl",
            '{"user_id": "u1", "history": [{"id": "i001"}]}',
            DataError,
            "must hold item ids, or",
        ),
        ("absent.parquet", None, DataError, "cannot be read"),
    ],
)
def test_table_of_users_that_is_none_is_named(
    bundle: Path, tmp_path: Path, name: str, text: str | None, error: type[Exception], words: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)

    with pytest.raises(error, match=words):
        scored(bundle, tmp_path / "to", users=str(tmp_path / name))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "score needs bundle=… and to=… .* or run=… and path=…"),
        ({"bundle": "b", "run": "r"}, "got bundle='b' and run='r'"),
        ({"bundle": "b"}, "to must be given beside bundle=…"),
        ({"run": "r"}, "path must be given beside run=…"),
        ({"bundle": "b", "to": "t", "traits": "worth"}, "traits has no meaning beside bundle=…"),
        ({"run": "r", "path": "p", "k": 3}, "k has no meaning beside run=…"),
        ({"bundle": "b", "to": "t", "k": -1}, "k must be 0 or more, got -1"),
        ({"bundle": "b", "to": "t", "filters": "drama"}, "filters must be conditions by attribute"),
        ({"bundle": "b", "to": "t", "surfaces": "s.yaml"}, "surface must name one of s.yaml"),
    ],
)
def test_settings_of_no_use_or_of_both_are_refused(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ScoreConfig(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"k": 7}, "holds scores with terms"),
        ({"buckets": 5}, "holds scores with n_buckets 2, got 5"),
        ({"at": NOW + 1}, "holds scores with timestamp"),
        ({"against": "{to}"}, "against must be another folder than to"),
        ({"against": "{other}", "buckets": 2}, "buckets must be those of against=.*, 4, got 2"),
        ({"against": "nowhere"}, "must be a folder of scores"),
    ],
)
def test_folder_of_other_scores_is_refused(
    bundle: Path, tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    to, other = tmp_path / "to", tmp_path / "other"
    version = bundle.name
    base = {"bundle": str(bundle), "to": str(to), "buckets": 2, "at": NOW}
    terms = msgspec.json.decode(msgspec.json.encode(ScoreTerms.of(ScoreConfig(**base), NOW)))  # type: ignore[arg-type]
    for path, n_buckets in ((to, 2), (other, 4)):
        ScoreFolder(
            path, ScoreManifest(version=version, timestamp=NOW, n_buckets=n_buckets, terms=terms)
        ).write_manifest()
    asked = {
        name: value.format(to=to, other=other) if isinstance(value, str) else value
        for name, value in changes.items()
    }

    with pytest.raises((ConfigError, DataError), match=words):
        score_bundle(ScoreConfig(**{**base, **asked}), open_console(quiet=True))  # type: ignore[arg-type]


def test_surface_says_what_the_command_does_not(tmp_path: Path) -> None:
    file = tmp_path / "surfaces.yaml"
    file.write_text(
        "surfaces:\n  shelf: {bundle: b, kind: ad, defaults: {k: 4, exclude_seen: false}, "
        "policy: {name: softmax}, filters: {genre: {any_of: [drama]}}, reranking: {caps: {genre: 2}}, "
        "traits: {city: home}}\n"
    )
    fields = {"bundle": "b", "to": "t", "surface": "shelf", "surfaces": str(file)}

    terms = ScoreTerms.of(ScoreConfig(**fields), NOW)  # type: ignore[arg-type]
    own = ScoreTerms.of(ScoreConfig(**fields, k=9, exclude_seen=True), NOW)  # type: ignore[arg-type]

    assert (terms.k, terms.kind, terms.exclude_seen, terms.surface) == (4, "ad", False, "shelf")
    assert (terms.filters, terms.reranking) == ([{"genre": {"any_of": ["drama"]}}], {"caps": {"genre": 2}})
    assert (own.k, own.exclude_seen) == (9, True)
    assert len(not_scored(ScoreConfig(**fields))) == 2  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="shows items of kind ad, got kind content"):
        ScoreTerms.of(ScoreConfig(**fields, kind="content"), NOW)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="surface must be one of \\['shelf'\\]"):
        ScoreTerms.of(ScoreConfig(**{**fields, "surface": "home"}), NOW)  # type: ignore[arg-type]


def test_items_that_entered_left_and_moved_are_told() -> None:
    before = pl.DataFrame({"user_id": ["a", "b", "gone"], "items": [["x", "y", "z"], ["x"], ["q"]]})
    after = pl.DataFrame({"user_id": ["a", "b", "new"], "items": [["y", "x", "w"], ["x"], ["p"]]})

    assert changes_between(before, after).rows() == [
        ("a", "w", "entered", None, 3),
        ("a", "x", "moved", 1, 2),
        ("a", "y", "moved", 2, 1),
        ("a", "z", "left", 3, None),
        ("gone", "q", "left", 1, None),
        ("new", "p", "entered", None, 1),
    ]


@pytest.mark.parametrize(("cluster", "schema"), [("local", LocalClusterConfig), ("ray", RayClusterConfig)])
def test_command_composes_with_either_cluster(cluster: str, schema: type) -> None:
    # Its schema is known once the command is there.
    importlib.import_module("training.score.__main__")
    given = [
        "bundle=b",
        "to=t",
        f"cluster={cluster}",
        "cluster.processes=3",
        "filters={genre:{any_of:[drama]}}",
    ]
    with initialize_config_dir(version_base="1.3", config_dir=str(CONFIGS)):
        config = as_object(compose("score", given), ScoreConfig)

    assert type(config.cluster) is schema
    assert (config.cluster.processes, config.filters) == (3, {"genre": {"any_of": ["drama"]}})
    assert ScoreTerms.of(config, NOW).filters == [{"genre": {"any_of": ["drama"]}}]
