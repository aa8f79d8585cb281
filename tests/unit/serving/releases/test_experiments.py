"""Experiments of a service: what is declared, who is in which arm, and what answers and records say."""

import gc
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from marquee.bundle.publishing import publish
from marquee.bundle.releases import Candidate, Role, activate
from marquee.core.catalog import ItemKind
from marquee.core.filters import Filters
from marquee.decision.pages.rows import AnsweredRow
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Decided, Request
from marquee.errors import BundleError, ConfigError
from serving.api.messages.limits import to_request
from serving.config import Settings
from serving.releases.answering import Loaded
from serving.releases.arms.experiments import Experiments
from serving.releases.surface_file import SurfaceFile
from tests.support.bundles import NOW, make_tiny, publish_tiny
from tests.support.experiment_service import Service

# Of the tiny bundle: known to it, and with a history.
KNOWN = "u1"
CALLERS = [f"caller-{number}" for number in range(300)]


@pytest.fixture(autouse=True)
def _unfrozen() -> Iterator[None]:
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two releases; the first is current."""
    folder = tmp_path_factory.mktemp("bundles")
    paths = [publish_tiny(folder, seed=seed) for seed in range(2)]
    activate(paths[0])
    return paths[0].parent


def versions(home: Path) -> list[str]:
    return sorted(path.name for path in home.iterdir() if path.is_dir())


def other_version(home: Path) -> str:
    current = (home / "CURRENT").read_text().strip()
    return next(version for version in versions(home) if version != current)


def users(callers: list[str] = CALLERS, **more: object) -> list[dict[str, object]]:
    return [{"user_id": caller, **more} for caller in callers]


SIZES = "experiments: {sizes: {arms: {ten: {weight: 0.5}, three: {weight: 0.5, k: 3}}}}"


def test_arm_changes_its_surface_and_stands_in_answer_and_record(home: Path, tmp_path: Path) -> None:
    service = Service(home, tmp_path, SIZES)
    answers = service.ask(*users())
    arms = Counter(answer["experiments"]["sizes"] for answer in answers)
    assert 100 < arms["ten"] < 200
    assert arms["ten"] + arms["three"] == len(CALLERS)
    assert all(
        answer["returned"] == {"ten": 10, "three": 3}[answer["experiments"]["sizes"]] for answer in answers
    )
    again = service.ask(*users())
    assert [one["experiments"] for one in again] == [one["experiments"] for one in answers]
    recorded = {decision.decision_id: decision.experiments for decision in service.written()}
    (experiment,) = service.experiments.experiments
    assert all(
        recorded[answer["decision_id"]] == (("sizes", experiment.seed, answer["experiments"]["sizes"]),)
        for answer in answers
    )


def test_what_the_request_says_goes_before_the_arm(home: Path, tmp_path: Path) -> None:
    service = Service(home, tmp_path, SIZES)
    assert {answer["returned"] for answer in service.ask(*users(k=5))} == {5}
    service.written()


def test_whoever_lets_nothing_be_known_takes_no_part(home: Path, tmp_path: Path) -> None:
    service = Service(home, tmp_path, SIZES)
    answers = service.ask(*users(CALLERS[:50], consent="segment"), {"k": 4}, {})
    assert all("experiments" not in answer for answer in answers)
    assert all(decision.experiments == () for decision in service.written())


def test_requests_without_users_are_drawn_by_their_id(home: Path, tmp_path: Path) -> None:
    service = Service(home, tmp_path, SIZES.replace("{arms", "{unit: request_id, arms"))
    arms = Counter(answer["experiments"]["sizes"] for answer in service.ask(*[{} for _ in range(100)]))
    assert set(arms) == {"ten", "three"}
    service.written()


def test_parts_of_a_batch_and_rows_of_a_page_are_in_arms(home: Path, tmp_path: Path) -> None:
    service = Service(home, tmp_path, SIZES)
    (batch,) = service.ask({"requests": users(CALLERS[:20])}, path="/v1/recommend/batch")
    pages = service.ask(*users(CALLERS[:20], rows=[{"row": "for_you"}]), path="/v1/page")
    plain = service.ask(*users(CALLERS[:20]))
    expected = [answer["returned"] for answer in plain]
    assert [answer["returned"] for answer in batch["answers"]] == expected
    assert [len(page["rows"][0]["items"]) for page in pages] == expected
    by_user: dict[str | None, set[Any]] = {}
    for decision in service.written():
        by_user.setdefault(decision.user_id, set()).add(decision.experiments)
    assert all(len(found) == 1 for found in by_user.values())


def test_arm_of_a_release_is_answered_by_it(home: Path, tmp_path: Path) -> None:
    other = other_version(home)
    text = f"experiments: {{two: {{arms: {{old: {{weight: 0.5}}, new: {{weight: 0.5, release: {other}}}}}}}}}"
    service = Service(home, tmp_path, text)
    for answer in service.ask(*users(CALLERS[:60])):
        assert (answer["version"] == other) == (answer["experiments"]["two"] == "new")
    service.written()


def test_experiment_whose_release_is_not_there_is_suspended(home: Path, tmp_path: Path) -> None:
    text = "experiments: {two: {arms: {old: {weight: 0.5}, new: {weight: 0.5, release: 20200101T000000Z-0}}}}"
    service = Service(home, tmp_path, text)
    answers = service.ask(*users(CALLERS[:30]))
    assert all("experiments" not in answer and answer["returned"] for answer in answers)
    assert service.shown("two", NOW) == (0, 1)
    service.written()


def test_counters_tell_which_experiments_run_and_the_answers_of_each_arm(home: Path, tmp_path: Path) -> None:
    soon, later = (datetime.fromtimestamp(NOW + hours * 3600, UTC).isoformat() for hours in (1, 2))
    text = SIZES.replace("{arms", f"{{start: '{soon}', end: '{later}', arms").replace("'", "")
    service = Service(home, tmp_path, f"holdout: {{share: 0.05}}\n{text}")
    assert [service.shown("sizes", NOW + hours * 3600) for hours in (0, 1, 2)] == [(0, 0), (1, 0), (0, 0)]
    service.ask(*users())
    service.written()
    (tmp_path / "running").mkdir()
    service = Service(home, tmp_path / "running", f"holdout: {{share: 0.05}}\n{SIZES}")
    answers = service.ask(*users())
    told = Counter(pair for answer in answers for pair in answer["experiments"].items())
    names = {"sizes": ("ten", "three"), "holdout": ("held_out", "served")}
    for experiment, arms in names.items():
        for arm in arms:
            labels = {"experiment": experiment, "arm": arm}
            counted = service.counted("marquee_experiment_decisions_total", labels)
            assert counted == told[experiment, arm] > 0
            share = {"held_out": 0.05, "served": 0.95}.get(arm, 0.5)
            assert service.counted("marquee_experiment_share", labels) == pytest.approx(share)
    service.written()


def test_canary_is_an_experiment(home: Path, tmp_path: Path) -> None:
    service = Service(home, tmp_path, SIZES)
    other = other_version(home)
    channel = service.surfaces.channel(service.surfaces.named("default"))
    candidate = Candidate(Role.canary, other, 0.3)
    channel.state.set_candidate(Role.canary, Loaded(candidate, Recommender.load(home / other)))
    answers = service.ask(*users())
    for caller, answer in zip(CALLERS, answers, strict=True):
        arm = "canary" if candidate.includes(caller) else "control"
        assert answer["experiments"]["canary"] == arm
        assert (answer["version"] == other) == (arm == "canary")
    service.written()


def test_answer_that_stays_with_the_release_of_its_cursor_is_in_no_other_arm(
    home: Path, tmp_path: Path
) -> None:
    service = Service(home, tmp_path, "experiments: {}")
    other = other_version(home)
    channel = service.surfaces.channel(service.surfaces.named("default"))
    candidate = Loaded(Candidate(Role.canary, other, 0.5), Recommender.load(home / other))
    channel.state.set_candidate(Role.canary, candidate)
    # Without a user each request draws anew, and its cursor decides all the same.
    (first,) = service.ask({"k": 2, "paging": True})
    answers = service.ask(*[{"k": 2, "cursor": first["cursor"]}] * 40)
    assert {answer["version"] for answer in answers} == {first["version"]}
    # Not in the arm that fits by chance either: the others would be missing from the counts.
    assert all("experiments" not in answer for answer in answers)
    begun = service.ask(*users(CALLERS[:20], k=2, paging=True))
    following = service.ask(
        *[
            {**body, "cursor": one["cursor"]}
            for body, one in zip(users(CALLERS[:20], k=2), begun, strict=True)
        ]
    )
    assert [one["experiments"] for one in following] == [one["experiments"] for one in begun]
    assert {one["experiments"]["canary"] for one in begun} == {"canary", "control"}
    recorded = {decision.decision_id: len(decision.experiments) for decision in service.written()}
    assert all(recorded[answer["decision_id"]] == ("experiments" in answer) for answer in answers)


@pytest.mark.parametrize("is_on_page", [False, True])
def test_rows_are_in_no_experiment_on_releases_but_those_of_their_page(
    home: Path, tmp_path: Path, is_on_page: bool
) -> None:
    (tmp_path / "surfaces.yaml").write_text(
        f"default: home\nsurfaces: {{home: {{bundle: {home}}}, feed: {{bundle: {home}}}}}"
    )
    other, current = other_version(home), (home / "CURRENT").read_text().strip()
    arms = f"{{old: {{weight: 0.5}}, new: {{weight: 0.5, release: {other}, k: 3}}}}"
    on = "home, feed" if is_on_page else "feed"
    text = f"experiments: {{two: {{surfaces: [{on}], arms: {arms}}}}}"
    service = Service("", tmp_path, text, surfaces=str(tmp_path / "surfaces.yaml"))
    rows: list[dict[str, object]] = [{}, {"surface": "feed"}]
    answers = service.ask(*users(CALLERS[:40], rows=rows), path="/v1/page")
    sizes = {(answer["version"], *[len(row["items"]) for row in answer["rows"]]) for answer in answers}
    recorded = Counter((one.release, *[arm for _, _, arm in one.experiments]) for one in service.written())
    if is_on_page:
        assert sizes == {(current, 10, 10), (other, 3, 3)}
        assert recorded.keys() == {(current, "old"), (other, "new")}
    else:
        # Nor what else the arm changes: half of it would be shown.
        assert sizes == {(current, 10, 10)}
        # The control neither: the other arm would be missing beside it.
        assert recorded.keys() == {(current,)}


def test_release_that_comes_while_a_request_is_judged_does_not_answer_for_the_arm_of_another(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(home, tmp_path, "experiments: {}")
    channel = service.surfaces.channel(service.surfaces.named("default"))
    other = other_version(home)
    candidate = Loaded(Candidate(Role.canary, other, 1.0), Recommender.load(home / other))
    channel.state.set_candidate(Role.canary, candidate)

    def ended(*given: Any) -> Request:
        channel.state.set_candidate(Role.canary, None)
        return to_request(*given)

    monkeypatch.setattr("serving.api.recommend.to_request", ended)
    (answer,) = service.ask({"user_id": KNOWN})
    assert (answer["experiments"], answer["version"]) == ({"canary": "canary"}, other)
    service.written()


class Failing(Recommender):
    """Fails on everything, as a candidate may that passed its golden requests."""

    def decide(self, *_: object) -> list[Decided]:
        raise ZeroDivisionError("of no use")

    def recommend_page(self, *_: object) -> list[AnsweredRow]:
        raise ZeroDivisionError("of no use")


@pytest.mark.parametrize("path", ["/v1/recommend", "/v1/page"])
def test_record_of_a_canary_that_fails_is_of_the_release_that_answered(
    home: Path, tmp_path: Path, path: str
) -> None:
    service = Service(home, tmp_path, "experiments: {}")
    channel = service.surfaces.channel(service.surfaces.named("default"))
    # Another catalog: the numbers of the items that were read mean other items in it, or none.
    other = publish(make_tiny(n_items=12).contents, tmp_path, "other", created=NOW)
    failing = Failing.load(other)
    channel.state.set_candidate(Role.canary, Loaded(Candidate(Role.canary, other.name, 1.0), failing))
    history = ["i020", "i021"]
    rows = {"rows": [{"k": 2}]} if path == "/v1/page" else {"k": 2}
    (answer,) = service.ask({"history": history, **rows}, path=path)
    assert answer["version"] == (home / "CURRENT").read_text().strip()
    (decision,) = service.written()
    assert (decision.release, list(decision.history)) == (answer["version"], history)
    # By intention to treat the arm stays, and the record says which release failed in it.
    assert [(name, arm) for name, _, arm in decision.experiments] == [("canary", "canary")]
    assert decision.failed_release == other.name


def test_holdout_is_answered_as_strangers_and_stays_on_record(home: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    plain = Service(home, tmp_path / "plain", "experiments: {}")
    history = [{"item_id": "i003", "kind": "click"}]
    (stranger,) = plain.ask({})
    (known,) = plain.ask({"user_id": KNOWN, "history": history})
    plain.written()
    assert stranger["items"] != known["items"], "or else this test shows nothing"
    service = Service(home, tmp_path, f"holdout: {{share: 0.05}}\n{SIZES}")
    answers = dict(zip(CALLERS, service.ask(*users(history=history)), strict=True))
    held = {caller for caller, answer in answers.items() if answer["experiments"]["holdout"] == "held_out"}
    assert 3 < len(held) < 35
    for caller, answer in answers.items():
        if caller in held:
            assert answer["items"] == stranger["items"]
            assert answer["experiments"] == {"holdout": "held_out"}
            assert answer["source"] == "popular"
        else:
            assert answer["experiments"]["sizes"] in ("ten", "three")
    recorded = {decision.user_id for decision in service.written()}
    assert recorded == set(CALLERS)


def test_held_out_users_are_in_no_canary(home: Path, tmp_path: Path) -> None:
    service = Service(home, tmp_path, "holdout: {share: 0.05}")
    channel = service.surfaces.channel(service.surfaces.named("default"))
    candidate = Candidate(Role.canary, other_version(home), 1.0)
    channel.state.set_candidate(Role.canary, Loaded(candidate, Recommender.load(home / candidate.version)))
    for answer in service.ask(*users()):
        is_held = answer["experiments"]["holdout"] == "held_out"
        assert ("canary" in answer["experiments"], answer["version"] == candidate.version) == (
            not is_held,
        ) * 2
    service.written()


def test_filters_of_an_arm_hold_beside_those_of_its_surface(home: Path, tmp_path: Path) -> None:
    text = "experiments: {two: {arms: {old: {weight: 0.5}, new: {weight: 0.5, filters: %s}}}}"
    settings = Settings(bundle=str(home), experiments=str(tmp_path / "experiments.yaml"))
    (tmp_path / "experiments.yaml").write_text(text % "{category: {any_of: [a]}}", encoding="utf-8")
    (surface,) = SurfaceFile.read(settings).surfaces
    own = Filters.of({"category": {"none_of": ["b"]}})
    surface = replace(surface, filters=own, own_filters=own)
    old, new = Experiments.read(settings, [surface]).variants([surface])
    assert (old.filters, old.own_filters) == (own, own)
    both = own & Filters.of({"category": {"any_of": ["a"]}})
    assert (new.filters, new.own_filters) == (both, both)


def test_kind_that_a_surface_does_not_show_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "experiments.yaml"
    path.write_text(
        "experiments: {a: {arms: {x: {weight: 0.5}, y: {weight: 0.5, kind: ad}}}}", encoding="utf-8"
    )
    settings = Settings(bundle="nowhere", experiments=str(path))
    (surface,) = SurfaceFile.read(settings).surfaces
    with pytest.raises(ConfigError, match=r"arms\.y\.kind must be that of surface default, content, got ad"):
        Experiments.read(settings, [replace(surface, kind=ItemKind.content)])


def test_release_that_cannot_answer_an_arm_is_refused(home: Path, tmp_path: Path) -> None:
    text = (
        "experiments: {two: {arms: {old: {weight: 0.5}, new: {weight: 0.5, filters: {none: {any_of: [x]}}}}}}"
    )
    with pytest.raises(BundleError, match="does not fit surface 'default'"):
        Service(home, tmp_path, text)


WRONG = {
    "no YAML": ("experiments: [", "must name a file of experiments"),
    "misspelt key": ("experiments: {a: {arm: {}}}", "arm"),
    "one arm": ("experiments: {a: {arms: {x: {weight: 1}}}}", "length >= 2"),
    "weights": (
        "experiments: {a: {arms: {x: {weight: 0.5}, y: {weight: 0.4}}}}",
        r"experiments\.a in .*sum to 1",
    ),
    "surface": (
        "experiments: {a: {surfaces: [shop], arms: {x: {weight: 0.5}, y: {weight: 0.5}}}}",
        r"surfaces must be among \['default'\], got 'shop'",
    ),
    "zone": (
        "experiments: {a: {start: 2026-12-01T00:00:00, arms: {x: {weight: 0.5}, y: {weight: 0.5}}}}",
        "start must say its zone",
    ),
    "k": (
        "experiments: {a: {arms: {x: {weight: 0.5}, y: {weight: 0.5, k: 501}}}}",
        r"arms\.y\.k must be at most the max_k of surface default \(500\), got 501",
    ),
    "policy without a log": (
        "experiments: {a: {arms: {x: {weight: 0.5}, y: {weight: 0.5, policy: {name: softmax}}}}}",
        "MARQUEE_EVENTS",
    ),
    "name of ours": ("experiments: {canary: {arms: {x: {weight: 0.5}, y: {weight: 0.5}}}}", "choose another"),
    "release": (
        "experiments: {a: {arms: {x: {weight: 0.5}, y: {weight: 0.5, release: ../up}}}}",
        r"experiments\.a in .*release",
    ),
    "holdout": ("holdout: {share: 0.5}", r"holdout in .*at most 0\.05"),
    "same setting twice": (
        "experiments: {a: {arms: {x: {weight: 0.5}, y: {weight: 0.5, k: 3}}}, "
        "b: {arms: {x: {weight: 0.5}, y: {weight: 0.5, k: 4}}}}",
        "experiments a and b both change k",
    ),
}


@pytest.mark.parametrize(("text", "said"), WRONG.values(), ids=WRONG)
def test_wrong_file_is_refused_with_its_place(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "experiments.yaml"
    path.write_text(text, encoding="utf-8")
    settings = Settings(bundle="nowhere", experiments=str(path))
    with pytest.raises(ConfigError, match=said):
        Experiments.read(settings, SurfaceFile.read(settings).surfaces)


def test_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    settings = Settings(bundle="nowhere", experiments=str(tmp_path / "none.yaml"))
    with pytest.raises(ConfigError, match="MARQUEE_EXPERIMENTS must name a file of experiments"):
        Experiments.read(settings, ())
