import itertools
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from marquee.core.arrays import Float64Array
from marquee.core.item_lists import ItemLists
from marquee.errors import DataError, ShapeError
from marquee.evaluation.comparison import (
    JudgedUsers,
    PairedTest,
    common_users,
    corrected,
    holm,
    paired_test,
    target_checksums,
)
from marquee.reports import ComparedRun, Finding, compare_runs, render_comparison
from tests.support.compared_runs import compared_run, judged_users
from training import report as report_command


def test_the_p_value_is_the_share_of_all_sign_assignments_at_least_as_extreme() -> None:
    differences = np.array([0.5, -0.1, 0.3, 0.2, 0.4, 0.1, 0.6])
    sums = [abs(np.dot(signs, differences)) for signs in itertools.product([-1, 1], repeat=7)]
    exact = float(np.mean(np.array(sums) >= differences.sum() - 1e-12))
    test = paired_test(differences, np.random.default_rng(0), n_flips=20_000)
    assert test.p_value == pytest.approx(exact, abs=0.005)


def test_identical_models_are_never_told_apart() -> None:
    assert paired_test(np.zeros(100), np.random.default_rng(0)).p_value == 1.0


def test_alike_models_are_told_apart_in_5_percent_of_the_cases() -> None:
    generator = np.random.default_rng(7)
    p_values = []
    for _ in range(1000):
        values = generator.choice([0.0, 0.0, 0.0, 0.3, 1.0], size=(120, 2))
        p_values.append(paired_test(values[:, 0] - values[:, 1], generator, n_flips=299).p_value)
    assert 0.03 < np.mean(np.array(p_values) <= 0.05) < 0.07


def detectable(differences: Float64Array, n_comparisons: int = 1) -> float:
    size = paired_test(differences, np.random.default_rng(0), n_comparisons=n_comparisons).detectable
    assert size is not None
    return size


def test_a_difference_of_the_detectable_size_is_found_in_80_percent_of_the_cases() -> None:
    generator = np.random.default_rng(3)
    size = detectable(generator.normal(0, 1, 200))
    found = [
        paired_test(generator.normal(size, 1, 200), generator, n_flips=299).p_value < 0.05 for _ in range(500)
    ]
    assert 0.73 < np.mean(found) < 0.87


def test_more_comparisons_need_a_larger_difference() -> None:
    differences = np.random.default_rng(0).normal(0, 1, 100)
    assert detectable(differences) < detectable(differences, n_comparisons=10)


def test_users_without_a_value_do_not_count() -> None:
    test = paired_test(np.array([0.5, np.nan, 0.25, 0.75]), np.random.default_rng(0))
    assert (test.n_users, test.difference) == (3, 0.5)


def test_one_user_is_too_few() -> None:
    with pytest.raises(DataError, match="needs at least 2 users, got 1"):
        paired_test(np.array([0.5, np.nan]), np.random.default_rng(0))


def test_holm_agrees_with_its_definition() -> None:
    p_values = np.random.default_rng(0).random(12) ** 3
    slow = [
        max(min(1.0, p * sum(p_values >= p)) for p in p_values if p <= own) for own in p_values
    ]  # no ties among them
    assert holm(p_values.tolist()) == pytest.approx(slow)


def test_correction_changes_nothing_but_p_values() -> None:
    tests = [PairedTest(0.1, 0.02, 0.05, 9), PairedTest(0.2, 0.03, 0.06, 9)]
    assert corrected(tests) == (PairedTest(0.1, 0.04, 0.05, 9), PairedTest(0.2, 0.04, 0.06, 9))


def test_values_of_users_survive_the_disk(tmp_path: Path) -> None:
    users = judged_users(0)
    users.write(tmp_path / "users.npz")
    read = JudgedUsers.read(tmp_path / "users.npz")
    assert (read.user_ids, read.headline, read.n_items) == (users.user_ids, "ndcg@10", 30)
    np.testing.assert_array_equal(read.targets, users.targets)
    assert list(read.values) == list(users.values)
    np.testing.assert_allclose(read.values["recall@10"], users.values["recall@10"], rtol=1e-6)


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 no archive"])
def test_a_file_that_is_none_is_named_with_what_makes_one(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "users.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"users.npz must hold the values .* `python -m training.evaluate"):
        JudgedUsers.read(path)


def test_values_must_be_of_the_users() -> None:
    with pytest.raises(ShapeError, match=r"must have one length, got \[\(3,\), \(400,\)\]"):
        JudgedUsers("m", "d", "f", "s", "test", 1, "ndcg@10", ("a", "b", "c"), np.zeros(400, np.uint32), {})


def test_the_checksum_of_targets_knows_neither_order_nor_indices() -> None:
    one = target_checksums(ItemLists.of([[1, 2], [2]]), np.array([0, 1]), ["", "a", "b"])
    other = target_checksums(ItemLists.of([[3, 2, 3], [1]]), np.array([0, 1]), ["", "x", "a", "b"])
    assert one[0] == other[0]
    assert one[1] != other[1]


def test_users_with_other_targets_are_not_compared() -> None:
    first, second = judged_users(0, n_users=5), judged_users(1, n_users=4)
    second.targets[1] = 99
    rows, other_rows = common_users(first, second)
    assert rows.tolist() == other_rows.tolist() == [0, 2, 3]


def test_a_comparison_says_which_run_is_better_and_of_which_it_cannot_tell() -> None:
    runs = [
        compared_run("a", judged_users(0)),
        compared_run("b", judged_users(1, 0.2)),
        compared_run("c", judged_users(2)),
        compared_run("d", judged_users(3, -0.2)),
    ]
    comparison = compare_runs(runs)
    findings = [contrast.finding for contrast in comparison.headline]
    assert findings == [Finding.better, Finding.undecided, Finding.worse]
    better, unclear, worse = comparison.sentences
    assert better.startswith("b is better than a on ndcg@10: ")
    assert unclear.startswith("c cannot be told from a")
    assert "would have been found in 80% of such comparisons" in unclear
    assert worse.startswith("d is worse than a")


def test_a_comparison_states_what_was_not_the_same() -> None:
    other = compared_run("b", judged_users(1, n_users=300, fingerprint="sha256:2"), **{"model.dim": "64"})
    comparison = compare_runs([compared_run("a", judged_users(0), **{"model.dim": "32", "seed": "1"}), other])
    fingerprint, shared = comparison.warnings
    assert "another fingerprint" in fingerprint
    assert "share 300 users with the same targets, out of 400" in shared
    assert comparison.differing_settings == {"model.dim": ("32", "64"), "seed": ("1", "not set")}


def test_the_details_are_corrected_for_all_that_stands_in_the_table() -> None:
    runs = [
        compared_run("a", judged_users(0)),
        compared_run("b", judged_users(1, 0.02)),
        compared_run("c", judged_users(2, 0.02)),
    ]
    comparison = compare_runs(runs)
    assert [contrast.metric for contrast in comparison.details] == ["ndcg@10", "recall@10"] * 2
    for contrast, detail in zip(comparison.headline, comparison.details[::2], strict=True):
        assert detail.test.p_value >= contrast.test.p_value
        assert (detail.test.detectable or 0) > (contrast.test.detectable or math.inf)


def test_the_page_and_the_numbers_hold_every_run() -> None:
    comparison = compare_runs(
        [compared_run("a <1>", judged_users(0)), compared_run("b", judged_users(1, 0.2))], "ndcg@5"
    )
    page = render_comparison(comparison)
    assert "b is better than a &lt;1&gt; on ndcg@5" in page
    assert "found from 0.0" in page
    written = json.loads(json.dumps(comparison.to_json_dict(), allow_nan=False))
    assert written["headline"][0]["finding"] == "better"


@pytest.mark.parametrize(
    ("runs", "metric", "message"),
    [
        ([compared_run("a", judged_users(0))], "", r"two or more runs with distinct names, got \['a'\]"),
        ([compared_run("a", judged_users(0)), compared_run("a", judged_users(1))], "", "distinct names"),
        (
            [compared_run("a", judged_users(0)), compared_run("b", judged_users(1))],
            "map@7",
            "run a must have the metric 'map@7'",
        ),
        (
            [compared_run("a", judged_users(0)), compared_run("b", judged_users(1, n_users=1))],
            "",
            "must share 2 users .* got 1 of 400",
        ),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(runs: list[ComparedRun], metric: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        compare_runs(runs, metric)


def test_the_command_refuses_a_folder_that_is_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["report", "compare", str(tmp_path), str(tmp_path)])
    with pytest.raises(SystemExit, match="2"):
        report_command.main()
    assert "run must be a folder that training wrote" in capsys.readouterr().err
