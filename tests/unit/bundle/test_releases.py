"""Which bundle is served, which one before it, and which candidates see a share of the traffic."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from marquee.bundle.releases import (
    Candidate,
    Role,
    activate,
    drop_candidate,
    go_back,
    name_candidate,
    previous,
    read_rollout,
    resolve,
)
from marquee.errors import BundleError, BundleNotFoundError, ConfigError
from marquee.store.files import watching_steps
from tests.support.bundles import publish_tiny


@pytest.fixture
def versions(tmp_path: Path) -> list[Path]:
    """Three versions; the third is current."""
    return [publish_tiny(tmp_path, seed=seed) for seed in range(3)]


def test_going_back_twice_goes_back_by_two(versions: list[Path]) -> None:
    home = versions[0].parent
    assert [go_back(home), resolve(home)] == [versions[1]] * 2
    assert [go_back(home), resolve(home)] == [versions[0]] * 2
    with pytest.raises(BundleNotFoundError, match="names nothing that was current before"):
        go_back(home)


def test_what_was_left_by_going_back_is_not_on_the_way_back(versions: list[Path]) -> None:
    first, _, third = versions
    home = first.parent
    go_back(home)
    go_back(home)
    activate(third)
    assert go_back(home) == first


def test_activating_the_current_version_again_adds_nothing(versions: list[Path]) -> None:
    activate(versions[2])
    assert go_back(versions[0].parent) == versions[1]


def test_going_back_to_what_was_removed_is_refused(versions: list[Path]) -> None:
    (versions[1] / "manifest.json").unlink()
    with pytest.raises(BundleNotFoundError, match=f"names version '{versions[1].name}', which is no bundle"):
        go_back(versions[0].parent)
    assert resolve(versions[0].parent) == versions[2]


def test_list_that_ran_ahead_of_the_pointer_is_read_from_it_on(versions: list[Path]) -> None:
    """As a publisher leaves it that is killed between the two renames."""
    first, second, third = versions
    (first.parent / "ACTIVATED").write_text(f"unborn\n{third.name}\n{second.name}\n{first.name}\n")
    assert previous(first.parent) == second


def test_bundle_activated_without_a_list_has_nothing_before_it(versions: list[Path]) -> None:
    (versions[0].parent / "ACTIVATED").unlink()
    with pytest.raises(BundleNotFoundError, match="names nothing that was current before"):
        previous(versions[0].parent)


def rollout(**candidates: tuple[Path, float]) -> dict[Role, Candidate]:
    """Returns a rollout from a folder and a share for each role."""
    return {
        Role(role): Candidate(Role(role), folder.name, share) for role, (folder, share) in candidates.items()
    }


def test_candidates_are_kept_beside_each_other(versions: list[Path]) -> None:
    first, second, _ = versions
    name_candidate(first, Role.canary, 0.25)
    name_candidate(second, Role.shadow, 1)
    assert read_rollout(first.parent) == rollout(canary=(first, 0.25), shadow=(second, 1))
    name_candidate(second, Role.canary, 0.5)
    assert read_rollout(first.parent) == rollout(canary=(second, 0.5), shadow=(second, 1))


def test_promoted_candidate_is_no_candidate_any_more(versions: list[Path]) -> None:
    first, second, _ = versions
    name_candidate(first, Role.canary, 0.25)
    name_candidate(second, Role.shadow, 1.0)
    activate(first)
    assert read_rollout(first.parent) == rollout(shadow=(second, 1.0))


def test_aborted_candidate_is_no_candidate_any_more(versions: list[Path]) -> None:
    first, second, _ = versions
    name_candidate(first, Role.canary, 0.25)
    with pytest.raises(
        BundleNotFoundError, match=f"must be a canary or a shadow .* got \\['{first.name}'\\]"
    ):
        drop_candidate(first.parent, second.name)
    drop_candidate(first.parent, first.name)
    assert read_rollout(first.parent) == {}


@pytest.mark.parametrize("share", [0.0, -0.1, 0.00005, 1.5, float("nan"), "0.5"])
def test_share_that_is_none_is_refused(versions: list[Path], share: float) -> None:
    with pytest.raises(ConfigError, match=r"share must be at least 0\.0001, the smallest that can be drawn"):
        name_candidate(versions[0], Role.canary, share)


def test_current_release_is_no_candidate(versions: list[Path]) -> None:
    with pytest.raises(BundleError, match="a canary must differ from the current release"):
        name_candidate(versions[2], Role.canary, 0.5)


def test_candidate_must_be_published(versions: list[Path]) -> None:
    with pytest.raises(BundleNotFoundError, match="which is no bundle"):
        name_candidate(versions[0].parent / "gone", Role.canary, 0.5)


CANDIDATE = {"version": "v1", "share": 0.5}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        "null",
        "\x00\xff",
        json.dumps({"other": CANDIDATE}),
        json.dumps({"canary": {"version": "v1"}}),
        json.dumps({"canary": {**CANDIDATE, "version": "../up"}}),
        json.dumps({"canary": {**CANDIDATE, "share": 2}}),
    ],
)
def test_rollout_that_is_none_is_refused_and_can_be_replaced(versions: list[Path], text: str) -> None:
    home = versions[0].parent
    (home / "ROLLOUT").write_text(text, encoding="utf-8")
    with pytest.raises(BundleError, match="ROLLOUT must hold the shares of candidates as JSON"):
        read_rollout(home)
    name_candidate(versions[0], Role.canary, 0.5)
    assert read_rollout(home) == rollout(canary=(versions[0], 0.5))


def included(share: float, version: str = "v1", n: int = 20_000) -> set[int]:
    candidate = Candidate(Role.canary, version, share)
    return {number for number in range(n) if candidate.includes(f"user-{number}")}


@pytest.mark.parametrize("share", [0.01, 0.05, 0.5])
def test_share_of_the_callers_is_the_share_that_was_asked_for(share: float) -> None:
    n = 20_000
    assert abs(len(included(share)) - share * n) < 4 * (n * share * (1 - share)) ** 0.5


def test_larger_share_includes_the_smaller_one() -> None:
    assert included(0.02) < included(0.05) < included(0.5) < included(1.0) == set(range(20_000))


def test_candidates_do_not_always_meet_the_same_callers() -> None:
    both = included(0.1) & included(0.1, "v2")
    assert 100 < len(both) < 320  # 200 if independent


def test_choice_of_a_caller_never_changes() -> None:
    """Kept from the first release of this rule, which SDKs follow too: later ones must choose alike."""
    assert sorted(included(0.001, n=4000)) == [892, 1152, 1714, 3619]


def power_cut_at(n: int) -> Callable[[str], None]:
    steps = iter(range(n))

    def cut(step: str) -> None:
        if next(steps, None) is None:
            raise KeyboardInterrupt(step)

    return cut


def test_interrupted_activation_leaves_the_old_or_the_new_one(versions: list[Path]) -> None:
    first, second, third = versions
    name_candidate(first, Role.canary, 0.5)
    n_cut = 0
    for n in range(100):
        try:
            with watching_steps(power_cut_at(n)):
                activate(first)
        except KeyboardInterrupt:
            n_cut += 1
            current = resolve(first.parent)
            assert previous(first.parent) == {first: third, third: second}[current]
            assert read_rollout(first.parent) in ({}, rollout(canary=(first, 0.5)))
        else:
            break
    assert n_cut >= 10
    assert read_rollout(first.parent) == {}
