"""Whatever the files hold today: a command gives what was trained, or refuses and names what differs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from marquee.decision.recommender import Recommender
from marquee.decision.requests import HistoryEvent, Request
from marquee.errors import DataError
from tests.support.mini_shop import MiniShop, mini_events, run
from training import backtest, evaluate, export, learning_curve, train
from training.cli.console import open_console
from training.fitting.fit import load_model
from training.runs.folders import RunFolder
from training.runs.prepare import prepare, prepare_trained

Rows = list[tuple[str, str, str]]


def with_renamed_items(rows: Rows) -> Rows:
    """Returns the events with another name for five items, which then stand first of all."""
    return [(user, f"a{item[1:]}" if item in NAMES else item, at) for user, item, at in rows]


NAMES = {f"i0{number}" for number in range(5, 10)}


def with_renamed_users(rows: Rows) -> Rows:
    return [(f"a{user[1:]}" if user in ("u58", "u59") else user, item, at) for user, item, at in rows]


def with_a_new_item(rows: Rows) -> Rows:
    return [*rows, ("u00", "a-new-item", "2025-03-01 00:00:01")]


def with_swapped_events(rows: Rows) -> Rows:
    """Returns as many events of the same users and items: what two users did is exchanged."""
    exchanged = {"u00": "u01", "u01": "u00"}
    return [(exchanged.get(user, user), item, at) for user, item, at in rows]


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> MiniShop:
    shop = MiniShop.open(tmp_path_factory.mktemp("shop"))
    with pytest.MonkeyPatch.context() as patch:
        assert shop.train(patch) == 0
    return shop


@pytest.fixture
def trained(trained_once: MiniShop) -> MiniShop:
    """A run on the table as it is at first."""
    trained_once.write_events(mini_events())
    return trained_once


@pytest.fixture(scope="module")
def answer_before(trained_once: MiniShop) -> dict[str, float]:
    trained_once.write_events(mini_events())
    with pytest.MonkeyPatch.context() as patch:
        return answer(bundle_of(trained_once, patch, "before"))


def bundle_of(shop: MiniShop, monkeypatch: pytest.MonkeyPatch, name: str) -> Recommender:
    """Exports the latest run and returns its bundle."""
    bundles = shop.path / name
    assert run(monkeypatch, export.main, f"run={shop.latest}", f"bundles={bundles}", "index.kind=flat") == 0
    return Recommender.load(bundles / "mini")


def answer(recommender: Recommender) -> dict[str, float]:
    history = (HistoryEvent("i11", kind="view"), HistoryEvent("i12", kind="view"))
    (found,) = recommender.recommend([Request(timestamp=1_750_000_000, history=history, k=30)])
    return {one.item_id: one.score for one in found.items}


@pytest.mark.parametrize("change", [with_renamed_items, with_renamed_users, with_a_new_item])
def test_export_gives_the_rows_that_were_trained(
    answer_before: dict[str, float],
    trained: MiniShop,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Rows], Rows],
) -> None:
    trained.write_events(change(mini_events()))
    after = answer(bundle_of(trained, monkeypatch, "after"))
    assert after == pytest.approx(answer_before)
    assert "than the model was trained on" in capsys.readouterr().out


def test_evaluate_ranks_the_rows_that_were_trained(
    trained: MiniShop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluation = trained.latest / "evaluation.json"
    before = json.loads(evaluation.read_text(encoding="utf-8"))["headline_metrics"]
    # A file that says the same of all but two users, who have a name that comes first.
    trained.write_events(with_renamed_users(mini_events()))
    assert run(monkeypatch, evaluate.main, f"run={trained.latest}") == 0
    after = json.loads(evaluation.read_text(encoding="utf-8"))["headline_metrics"]
    assert after["test/ndcg@10"] == pytest.approx(before["test/ndcg@10"])
    said = capsys.readouterr().out
    assert "2 new (a58, a59), 2 gone (u58, u59)" in said


def test_model_refuses_a_data_set_of_other_rows(trained: MiniShop) -> None:
    trained.write_events(with_renamed_items(mini_events()))
    folder = RunFolder.find(str(trained.latest))
    config = folder.read_config()
    fresh = prepare(config, folder.path, open_console(quiet=True))
    with pytest.raises(DataError, match=r"items: 5 new \(a05, .*\), 5 gone \(i05, .*train again"):
        load_model(fresh.dataset, config, folder.checkpoint)
    again = prepare_trained(config, folder.path, open_console(quiet=True))
    load_model(again.dataset, config, folder.checkpoint)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (with_renamed_items, "items: 5 new (a05, a06, a07, a08, a09), 5 gone (i05, i06, i07, i08, i09)"),
        (with_renamed_users, "users: 2 new (a58, a59), 2 gone (u58, u59)"),
        (with_swapped_events, "the training events of the same users and items are others"),
    ],
)
def test_resume_and_retraining_refuse_other_rows_and_name_them(
    trained: MiniShop,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Rows], Rows],
    words: str,
) -> None:
    trained.write_events(change(mini_events()))
    assert run(monkeypatch, train.main, f"resume={trained.latest}", "trainer.epochs=2") == 2
    for main in (backtest.main, learning_curve.main):
        assert run(monkeypatch, main, f"run={trained.latest}") == 2
    said = capsys.readouterr().err
    assert said.count(words) == 3, said


def write_items(path: Path, column: str, price_of_the_first: str) -> None:
    lines = [f"item,{column}", f"i00,{price_of_the_first}", *(f"i{n:02d},{n}.5" for n in range(1, 30))]
    (path / "items.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_features_are_encoded_as_they_were_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = MiniShop.open(
        tmp_path,
        items="{path: items.csv, columns: {item_id: item}}",
        features="{item: {price: {type: numeric}}}",
    )
    write_items(tmp_path, "price", "1.5")
    assert shop.train(monkeypatch) == 0
    before = bundle_of(shop, monkeypatch, "before").bundle.item_features.to_json()
    write_items(tmp_path, "price", "1000000")
    assert bundle_of(shop, monkeypatch, "after").bundle.item_features.to_json() == before


def test_column_of_a_trained_feature_that_is_gone_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = MiniShop.open(
        tmp_path,
        items="{path: items.csv, columns: {item_id: item}}",
        features="{item: {price: {type: numeric}}}",
    )
    write_items(tmp_path, "price", "1.5")
    assert shop.train(monkeypatch) == 0
    write_items(tmp_path, "cost", "1.5")
    assert run(monkeypatch, export.main, f"run={shop.latest}", f"bundles={tmp_path / 'bundles'}") == 2
    assert "'price'" in capsys.readouterr().err


def test_later_commands_say_what_is_another_under_the_same_names(
    trained: MiniShop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained.write_events(mini_events())
    assert run(monkeypatch, evaluate.main, f"run={trained.latest}") == 0
    assert "than those that the model was trained on" not in capsys.readouterr().out
    trained.write_events(with_swapped_events(mini_events()))
    assert run(monkeypatch, evaluate.main, f"run={trained.latest}") == 0
    words = (
        "the training events of the same users and items are others than those that the model was trained on"
    )
    assert words in capsys.readouterr().out


def test_features_that_changed_places_are_said_by_export_and_refused_by_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = MiniShop.open(
        tmp_path,
        items="{path: items.csv, columns: {item_id: item}}",
        features="{item: {price: {type: numeric}}}",
    )
    write_items(tmp_path, "price", "1.5")
    assert shop.train(monkeypatch) == 0
    capsys.readouterr()
    lines = (tmp_path / "items.csv").read_text(encoding="utf-8").replace("i01,", "TMP,")
    (tmp_path / "items.csv").write_text(
        lines.replace("i02,", "i01,").replace("TMP,", "i02,"), encoding="utf-8"
    )
    assert run(monkeypatch, export.main, f"run={shop.latest}", f"bundles={tmp_path / 'bundles'}") == 0
    said = capsys.readouterr()
    assert "the features of the same users and items are others" in said.out
    assert run(monkeypatch, train.main, f"resume={shop.latest}", "trainer.epochs=3") == 2
    assert "the features of the same users and items are others" in capsys.readouterr().err
