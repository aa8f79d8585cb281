"""The heads of experiments can be read, what they say can be run, and a result is held against it."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from benchmarks import quality
from benchmarks.experiments import Result, list_experiments, read_notes, run_experiment
from marquee.errors import ConfigError
from training.choices import register_schemas
from training.cli.menu import CONFIGS
from training.config import resolve

HEAD = """# @package _global_
# Question    Does it
#             work?
# Command     python -m benchmarks.quality small --check
# Settings    none
# Expected    ndcg@10 0.2000 ± 0.0100
# Expected    recall@10 0.3 ± 0.02
# Target      ndcg@10 0.2500
# Published   ndcg@10 0.1900 somebody, somewhere
# Variant     without history: model.history=false model.user_id=true
# Measured    today
# Found       Yes.
defaults:
  - override /data: world
# Not       part of the head
"""


def write(folder: Path, text: str = HEAD) -> Path:
    (folder / "small.yaml").write_text(text, encoding="utf-8")
    return folder


def result(ndcg: float, recall: float = 0.3) -> Result:
    metrics = {"ndcg@10": ndcg, "recall@10": recall}
    return Result({"model": metrics, "popularity": {"ndcg@10": 0.1, "recall@10": 0.1}}, "test", 9.0, 6.0)


def test_a_head_is_read_whole(tmp_path: Path) -> None:
    notes = read_notes("small", write(tmp_path))
    assert notes.texts["Question"] == ["Does it work?"]
    assert [(f.metric, f.value, f.tolerance) for f in notes.expected] == [
        ("ndcg@10", 0.2, 0.01),
        ("recall@10", 0.3, 0.02),
    ]
    assert [(f.value, f.source) for f in notes.published] == [(0.19, "somebody, somewhere")]
    assert [f.value for f in notes.targets] == [0.25]
    assert notes.variants == {"without history": ["model.history=false", "model.user_id=true"]}
    assert "Not" not in notes.texts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEAD.replace("# Found       Yes.\n", ""), "small.yaml lacks Found"),
        (HEAD.replace("± 0.0100", ""), "expected 'metric@k value ± tolerance', got 'ndcg@10 0.2000"),
        (HEAD.replace("ndcg@10 0.1900 somebody", "somebody"), "expected 'metric@k value source'"),
    ],
)
def test_a_head_that_cannot_be_read_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        read_notes("small", write(tmp_path, text))


def test_an_unknown_experiment_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no experiment 'large'; there are: small"):
        read_notes("large", write(tmp_path))


@pytest.mark.parametrize("name", list_experiments())
def test_every_experiment_has_a_head_and_composes_with_all_of_its_variants(name: str) -> None:
    notes = read_notes(name)
    register_schemas()
    for overrides in ([], *notes.variants.values()):
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            config = resolve(compose("train", overrides=[f"experiment={name}", *overrides]))
        assert {figure.metric for figure in (*notes.expected, *notes.targets)} <= {
            f"{metric}@{k}" for metric in ("ndcg", "recall", "hit_rate") for k in config.evaluation.ks
        }


@pytest.mark.parametrize(
    ("ndcg", "said", "is_within"),
    [
        (0.20, "", True),
        (0.185, "BELOW WHAT IS EXPECTED", False),
        (0.26, "above: write the head anew", True),
    ],
)
def test_a_result_is_held_against_what_was_expected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ndcg: float, said: str, *, is_within: bool
) -> None:
    notes = read_notes("small", write(tmp_path))
    assert quality.report(notes, [result(ndcg - 0.001), result(ndcg + 0.001)]) is is_within
    printed = capsys.readouterr().out
    assert said in printed
    assert f"{ndcg:.4f} ± 0.0014" in printed
    assert ("wanted: reached" in printed) is (ndcg >= 0.25)
    assert "somebody, somewhere" in printed
    assert "0.1000  measured: popularity" in printed


def test_the_check_fails_where_one_experiment_falls_short(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = read_notes("movielens-100k").expected[0].value
    ran: list[tuple[str, list[str]]] = []

    def run(name: str, overrides: list[str]) -> Result:
        ran.append((name, overrides))
        return result(good - (0.1 if "seed=2" in overrides else 0.0))

    monkeypatch.setattr(quality, "run_experiment", run)
    for arguments, status in (
        (["movielens-100k", "--check"], 0),
        (["movielens-100k", "--check", "--seeds", "2"], 1),
        (["movielens-100k", "--seeds", "2"], 0),
        (["no-such-experiment"], 2),
    ):
        monkeypatch.setattr("sys.argv", ["quality", *arguments])
        assert quality.main() == status
    assert ran[0] == ("movielens-100k", ["seed=1"])
    assert "no experiment 'no-such-experiment'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("data_root")
def test_an_experiment_runs_as_the_training_command_runs_it(
    data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARQUEE_DATA", str(data_root))
    few = ["trainer.epochs=1", "evaluation.baselines.als=false", "examples.batch_size=8192"]
    found = run_experiment("movielens-100k", few)
    assert found.part == "test"
    assert 0 < found.means["model"]["ndcg@10"] < 1
    assert 0 < found.train_seconds < found.seconds
