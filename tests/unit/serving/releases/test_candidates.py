"""Candidates: a canary answers its share of the users, a shadow is asked and never heard."""

import gc
import logging
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from marquee.bundle.releases import (
    ROLLOUT,
    Role,
    activate,
    drop_candidate,
    name_candidate,
    read_rollout,
    resolve,
)
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Answer, Request
from marquee.errors import BundleError, BundleNotFoundError, ChecksumError, ConfigError, SignatureError
from marquee.store.signing import SigningKey, TrustedKeys, write_key_pair
from serving.releases.channel import Channel
from serving.releases.loading import Loader
from serving.releases.metrics import CandidateMetrics
from serving.releases.shadow import CAPACITY, Shadow
from serving.telemetry.background import ThreadMetrics
from serving.telemetry.metrics import Metrics
from tests.support.bundles import NOW, publish_tiny
from tests.support.counters import changes


@pytest.fixture(autouse=True)
def _unfrozen() -> Iterator[None]:
    yield
    gc.unfreeze()


@pytest.fixture
def versions(tmp_path: Path) -> list[Path]:
    """Three versions; the first is current."""
    paths = [publish_tiny(tmp_path, seed=seed) for seed in range(3)]
    activate(paths[0])
    return paths


def loaded(home: Path, metrics: Metrics | None = None) -> Channel:
    releases = Channel(home, metrics)
    releases.load()
    return releases


def roles(releases: Channel) -> dict[str, str | None]:
    """Returns which version has which role in a worker."""
    now = releases.answering
    assert now is not None
    candidates = {role.value: loaded.recommender.version for role, loaded in now.candidates.items()}
    return {"current": now.current.version, "canary": None, "shadow": None, **candidates}


def flip_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.chmod(0o644)  # files of a version are read-only
    file.write_bytes(content)


def test_canary_answers_its_share_of_the_users_on_every_worker(versions: list[Path]) -> None:
    first, second, _ = versions
    workers = [loaded(first.parent) for _ in range(2)]
    workers[0].name_candidate(second.name, Role.canary, 0.3)
    assert not workers[1].refresh(), "the current release is the same"
    callers = [f"user-{number}" for number in range(2000)]
    chosen = []
    for worker in workers:
        assert worker.answering is not None
        chosen.append([worker.answering.choose(caller).version for caller in callers])
    assert chosen[0] == chosen[1]
    assert set(chosen[0]) == {first.name, second.name}
    assert 500 < chosen[0].count(second.name) < 700  # 600 ± 5 standard errors


def test_candidates_are_kept_across_restarts(versions: list[Path]) -> None:
    first, second, third = versions
    releases = loaded(first.parent)
    releases.name_candidate(second.name, Role.canary, 0.3)
    releases.name_candidate(third.name, Role.shadow, 0.5)
    wanted = {"current": first.name, "canary": second.name, "shadow": third.name}
    assert roles(releases) == roles(loaded(first.parent)) == wanted
    listed = {one.version: (one.canary_share, one.shadow_share) for one in releases.listed()}
    assert listed == {first.name: (0.0, 0.0), second.name: (0.3, 0.0), third.name: (0.0, 0.5)}


def test_share_is_changed_without_loading_again(versions: list[Path]) -> None:
    releases = loaded(versions[0].parent)
    before = releases.name_candidate(versions[1].name, Role.canary, 0.01)
    assert releases.name_candidate(versions[1].name, Role.canary, 1.0).bundle is before.bundle
    assert releases.answering is not None
    assert releases.answering.choose("anybody").bundle is before.bundle


def test_promoted_canary_answers_everybody_without_loading_again(versions: list[Path]) -> None:
    first, second, _ = versions
    here, there = loaded(first.parent), loaded(first.parent)
    candidate = here.name_candidate(second.name, Role.canary, 0.01)
    there.refresh()
    assert here.activate(second.name).bundle is candidate.bundle
    assert there.refresh()
    assert roles(here) == roles(there) == {"current": second.name, "canary": None, "shadow": None}
    assert read_rollout(first.parent) == {}


def test_aborted_canary_answers_nobody(versions: list[Path]) -> None:
    first, second, _ = versions
    here, there = loaded(first.parent), loaded(first.parent)
    here.name_candidate(second.name, Role.canary, 1.0)
    there.refresh()
    here.drop_candidate(second.name)
    there.refresh()
    assert roles(here) == roles(there) == {"current": first.name, "canary": None, "shadow": None}
    with pytest.raises(BundleNotFoundError, match="must be a canary or a shadow"):
        here.drop_candidate(second.name)


def test_going_back_takes_the_release_before(versions: list[Path]) -> None:
    first, second, third = versions
    releases = loaded(first.parent)
    releases.activate(second.name)
    releases.activate(third.name)
    assert releases.go_back().version == second.name
    assert releases.go_back().version == first.name
    assert resolve(first.parent) == first


def test_release_that_is_gone_back_to_is_no_candidate_any_more(versions: list[Path]) -> None:
    first, second, _ = versions
    here, there = loaded(first.parent), loaded(first.parent)
    here.activate(second.name)
    here.name_candidate(first.name, Role.shadow, 1.0)
    there.refresh()
    here.go_back()
    there.refresh()
    assert roles(here) == roles(there) == {"current": first.name, "canary": None, "shadow": None}
    assert read_rollout(first.parent) == {}


def test_candidate_that_becomes_current_by_hand_is_no_candidate(versions: list[Path]) -> None:
    first, second, _ = versions
    releases = loaded(first.parent)
    releases.name_candidate(second.name, Role.canary, 0.5)
    (first.parent / "CURRENT").unlink()
    (first.parent / "CURRENT").write_text(f"{second.name}\n")
    assert releases.refresh()
    assert roles(releases) == {"current": second.name, "canary": None, "shadow": None}


def test_going_back_to_a_damaged_release_is_refused(versions: list[Path]) -> None:
    first, second, third = versions
    releases = loaded(first.parent)
    releases.activate(second.name)
    releases.activate(third.name)
    flip_a_byte(second / "item_vectors.npy")
    with pytest.raises(ChecksumError):
        releases.go_back()
    assert resolve(first.parent) == third
    assert roles(releases)["current"] == third.name


def test_bad_candidate_is_refused_before_it_is_named(versions: list[Path]) -> None:
    metrics = Metrics()
    releases = loaded(versions[0].parent, metrics)
    flip_a_byte(versions[1] / "item_vectors.npy")
    with pytest.raises(ChecksumError):
        releases.name_candidate(versions[1].name, Role.canary, 0.5)
    assert read_rollout(versions[0].parent) == {}
    assert changes(metrics)["refused"] == 1


def test_current_release_is_no_candidate(versions: list[Path]) -> None:
    releases = loaded(versions[0].parent)
    with pytest.raises(BundleError, match="a shadow must differ from the current release"):
        releases.name_candidate(versions[0].name, Role.shadow, 0.5)
    with pytest.raises(ConfigError, match="share must be"):
        releases.name_candidate(versions[1].name, Role.shadow, 2.0)


BAD_ROLLOUTS = {
    "no JSON": "\x00",
    "share out of range": '{"canary": {"version": "v", "share": 7}}',
    "candidate that is not there": '{"canary": {"version": "gone", "share": 0.5}}',
    "path": '{"canary": {"version": "../up", "share": 0.5}}',
}


@pytest.mark.parametrize("how", BAD_ROLLOUTS)
def test_bad_rollout_changes_nothing_for_users(
    versions: list[Path], how: str, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = Metrics()
    releases = loaded(versions[0].parent, metrics)
    (versions[0].parent / ROLLOUT).write_text(BAD_ROLLOUTS[how])
    with caplog.at_level(logging.ERROR):
        assert [releases.refresh() for _ in range(3)] == [False] * 3
    assert roles(releases) == {"current": versions[0].name, "canary": None, "shadow": None}
    outcome = "postponed" if how == "candidate that is not there" else "refused"  # it may come
    assert changes(metrics)[outcome] == 1
    assert f"a release was {outcome}" in caplog.text
    assert loaded(versions[0].parent).recommender is not None


def test_candidate_that_a_worker_refuses_leaves_its_users_to_the_current_release(
    versions: list[Path],
) -> None:
    releases = loaded(versions[0].parent)
    name_candidate(versions[1], Role.canary, 1.0)  # by a publisher that does not look into it
    flip_a_byte(versions[1] / "item_vectors.npy")
    releases.refresh()
    assert releases.answering is not None
    assert releases.answering.choose("anybody").version == versions[0].name
    drop_candidate(versions[0].parent, versions[1].name)
    assert not releases.refresh()


def test_release_under_another_name_is_refused(versions: list[Path]) -> None:
    releases = loaded(versions[0].parent)
    versions[1].rename(versions[1].with_name("v2"))
    with pytest.raises(BundleError, match=r"must hold version 'v2', got .* it was renamed"):
        releases.activate("v2")
    assert roles(releases)["current"] == versions[0].name


def test_only_releases_of_trusted_keys_are_taken(tmp_path: Path) -> None:
    ours, theirs = (write_key_pair(tmp_path / name)[0] for name in ("ours", "theirs"))
    first = publish_tiny(tmp_path, signing_key=SigningKey.read(ours))
    releases = Channel(first.parent, loader=Loader(TrustedKeys.read(f"{ours}.pub")))
    releases.load()
    for signing_key in (None, SigningKey.read(theirs)):
        wrong = publish_tiny(tmp_path, seed=1 + bool(signing_key), signing_key=signing_key)
        assert not releases.refresh()
        with pytest.raises(SignatureError):
            releases.activate(wrong.name)
    assert roles(releases)["current"] == first.name
    publish_tiny(tmp_path, seed=3, signing_key=SigningKey.read(ours))
    assert releases.refresh()


def shadowed(versions: list[Path], seed: int) -> tuple[Recommender, Request, Answer]:
    """Returns a candidate, a request and what the current release answered to it."""
    request = Request(timestamp=NOW, user_id="u1", k=5)
    (answer,) = Recommender.load(versions[0]).recommend([request])
    return Recommender.load(versions[seed]), request, answer


class Counted(CandidateMetrics):
    """Metrics that a test can wait for."""

    def __init__(self) -> None:
        super().__init__(CollectorRegistry())
        self.threads = ThreadMetrics(CollectorRegistry())
        self.seen: list[tuple[str, float | None]] = []
        self.changed = threading.Condition()

    def count_shadow(self, outcome: str, overlap: float | None = None) -> None:
        super().count_shadow(outcome, overlap)
        with self.changed:
            self.seen.append((outcome, overlap))
            self.changed.notify()

    def wait_for(self, n: int) -> list[tuple[str, float | None]]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.seen) >= n, timeout=10)
            return list(self.seen)


def test_shadow_is_compared_item_by_item(versions: list[Path]) -> None:
    metrics = Counted()
    shadow = Shadow(metrics, metrics.threads, sleep=lambda _seconds: None)
    same, request, answer = shadowed(versions, 0)
    other, _, _ = shadowed(versions, 1)
    (others_answer,) = other.recommend([request])
    ids = [{item.item_id for item in one.items} for one in (answer, others_answer)]
    shadow.offer(same, request, answer)
    shadow.offer(other, request, answer)
    assert metrics.wait_for(2) == [("compared", 1.0), ("compared", len(ids[0] & ids[1]) / 5)]
    shadow.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "shadow"]


def test_shadow_that_fails_is_counted_and_logged_once(
    versions: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    metrics = Counted()
    shadow = Shadow(metrics, metrics.threads, sleep=lambda _seconds: None)
    _, request, answer = shadowed(versions, 0)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            shadow.offer(Broken(Recommender.load(versions[1]).bundle), request, answer)
        assert metrics.wait_for(3) == [("failed", None)] * 3
    shadow.close()
    assert caplog.text.count("failed: ZeroDivisionError") == 1


class Broken(Recommender):
    """Fails on everything."""

    def recommend(self, *_: object) -> list[Answer]:
        raise ZeroDivisionError("of no use")


def test_shadow_that_is_too_slow_drops_and_never_makes_the_live_path_wait(versions: list[Path]) -> None:
    metrics = Counted()
    gate = threading.Event()
    shadow = Shadow(metrics, metrics.threads, sleep=lambda _seconds: gate.wait(10))
    candidate, request, answer = shadowed(versions, 1)
    shadow.offer(candidate, request, answer)
    metrics.wait_for(1)  # now the thread rests
    for _ in range(CAPACITY + 5):
        shadow.offer(candidate, request, answer)
    assert metrics.seen[1:] == [("dropped", None)] * 5
    gate.set()
    assert metrics.wait_for(CAPACITY + 6).count(("dropped", None)) == 5
    shadow.close()


class Slow(Recommender):
    """Takes so many seconds for an answer, by a clock of its own."""

    def __init__(self, recommender: Recommender, seconds: float) -> None:
        super().__init__(recommender.bundle)
        self.seconds = seconds
        self.now = 0.0

    def recommend(self, requests: Sequence[Request], *_: object) -> list[Answer]:
        self.now += self.seconds
        return super().recommend(requests)


def test_shadow_rests_nine_times_as_long_as_it_works(versions: list[Path]) -> None:
    metrics = Counted()
    rests: list[float] = []
    candidate, request, answer = shadowed(versions, 1)
    slow = Slow(candidate, seconds=2.0)
    shadow = Shadow(metrics, metrics.threads, sleep=rests.append, clock=lambda: slow.now)
    for _ in range(3):
        shadow.offer(slow, request, answer)
    metrics.wait_for(3)
    shadow.close()
    assert rests == [pytest.approx(18.0)] * 3


def test_shadow_s_summary_is_one_line_every_ten_seconds(
    versions: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    metrics = Counted()
    candidate, request, answer = shadowed(versions, 0)
    slow = Slow(candidate, seconds=4.0)
    shadow = Shadow(metrics, metrics.threads, sleep=lambda _seconds: None, clock=lambda: slow.now)
    with caplog.at_level(logging.INFO):
        for _ in range(5):
            shadow.offer(slow, request, answer)
        metrics.wait_for(5)
        shadow.close()
    (line,) = [record for record in caplog.records if "was compared" in record.getMessage()]
    facts = {"compared": 3, "failed": 0, "dropped": 0, "same": 3, "mean_overlap": 1.0}
    assert line.facts == {"release": versions[0].name, **facts}  # type: ignore[attr-defined]  # of our formatter
