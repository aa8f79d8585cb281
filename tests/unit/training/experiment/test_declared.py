"""One file declares an experiment to the service and to its report, which needs the log alone."""

import json
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from marquee.core.identity.uuids import uuid7
from marquee.decision.experiments.declaring import ExperimentFile
from marquee.errors import ConfigError
from marquee.evaluation.experiments.declared import before_it_ran, declared_config
from marquee.store.log.event_log import Decision, Event, Place
from marquee.store.log.sales import Sale
from marquee.store.log.sqlite import SqliteEventLog
from tests.support.event_stores import event
from training.experiment.__main__ import main

DAY = 86_400
N_USERS = 1_000
RATES = {"control": 0.2, "varied": 0.5, None: 0.3}

FILE = """
holdout: {share: 0.02, metrics: {clicks: {value: clicked_at IS NOT NULL}}}
experiments:
  variety:
    surfaces: [home]
    start: %s
    end: 2100-01-01T00:00:00Z
    arms: {control: {weight: 0.5}, varied: {weight: 0.5, k: 3}}
    metrics:
      clicks: {value: clicked_at IS NOT NULL}
      places: {value: "1", better: less}
      clicks per place: {value: clicked_at IS NOT NULL, per: "1"}
      worth: {value: objective}
    guardrails: [places]
    slices: [policy]
    minimum_effect: 0.05
  silent: {arms: {a: {weight: 0.5}, b: {weight: 0.5}}}
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of experiments, and the log of a service that ran by it: from before its start on."""
    folder = tmp_path_factory.mktemp("service")
    now = int(time.time())
    start = now - 3 * DAY
    text = FILE % time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(start))
    (folder / "experiments.yaml").write_text(text, encoding="utf-8")
    variety = ExperimentFile.read(folder / "experiments.yaml").experiments["variety"].experiment("variety")
    rng = np.random.default_rng(0)
    decisions: list[Decision] = []
    events: list[Event] = []
    for number in range(N_USERS):
        user, taste = f"u{number}", rng.normal()
        for at in (start - 5 * DAY, start + DAY, start + 2 * DAY):
            arm = variety.arm_of(user, at)
            found = Decision(
                decision_id=uuid7(at * 1000, rng.bytes(10)),
                time_ms=at * 1000 + number,
                user_id=user,
                surface="home" if number % 10 else "feed",
                places=(Place("a", 1.0, 1.0),),
                sales=(Sale("a", "spring", "cpc", 30_000, 30_000, 1, "2026-03-29", at * 1000),),
                experiments=(("variety", variety.seed, arm),) if arm and number % 10 else (),
                failed_release="v2" if arm == "varied" and number % 50 == 1 else "",
            )
            decisions.append(found)
            if rng.random() < RATES[arm] + 0.2 * np.tanh(taste):
                click = event(str(len(events)), item_id="a", timestamp=at + 5, received=at + 5)
                events.append(replace(click, user_id=user, decision_id=found.decision_id))
    log = SqliteEventLog(folder / "events")
    log.append_decisions(decisions)
    log.append(events)
    log.close()
    return folder


def arm_in(folder: Path, number: int) -> str | None:
    """Returns the arm of a user while the experiment runs."""
    variety = ExperimentFile.read(folder / "experiments.yaml").experiments["variety"].experiment("variety")
    return variety.arm_of(f"u{number}", int(time.time()))


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, *words: str) -> int:
    """Returns the exit status of the command."""
    given = [f"file={folder / 'experiments.yaml'}", f"out={folder / 'out'}", *words]
    monkeypatch.setattr(sys, "argv", ["experiment", *given])
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_log_and_file_become_a_report(monkeypatch: pytest.MonkeyPatch, service: Path) -> None:
    assert run(monkeypatch, service, "experiment=variety", f"log={service / 'events'}") == 0
    facts = json.loads((service / "out" / "variety" / "experiment.json").read_text())
    assert sum(facts["n_units"].values()) == N_USERS * 9 // 10, "on the other surface nothing ran"
    assert not facts["sample_ratio"]["is_mismatch"]
    assert not facts["is_final"], "its end is the one of the file"
    assert [one["name"] for one in facts["metrics"]] == ["clicks", "places", "clicks per place", "worth"]
    (effect,) = facts["metrics"][0]["effects"]["effects"]
    # By the worths of the one declaration: a click is worth 0.02, and its campaign pays 0.03 for it.
    (worth,) = facts["metrics"][3]["effects"]["effects"]
    assert worth["low"] == pytest.approx(0.05 * effect["low"], rel=1e-6)
    assert effect["low"] < 2 * (RATES["varied"] - RATES["control"]) < effect["high"]
    assert facts["metrics"][0]["effects"]["adjustment"]["is_on"], "the days before its start are its past"
    assert facts["arms"][0]["verdict"]["conclusion"] == "ship"
    (note,) = [note for note in facts["notes"] if "answered by another release" in note]
    n_failed = 2 * len([number for number in range(1, N_USERS, 50) if arm_in(service, number) == "varied"])
    assert note.startswith(f"{n_failed} of "), "two answers each while it ran"
    assert "rows of arm varied" in note


def test_slices_may_be_what_is_known_of_users(monkeypatch: pytest.MonkeyPatch, service: Path) -> None:
    text = (service / "experiments.yaml").read_text().replace("slices: [policy]", "slices: [region, policy]")
    (service / "by_region.yaml").write_text(text)
    lines = [f"u{n},{'north' if n % 2 else 'south'}" for n in range(2, N_USERS)] + ["u5,south"]
    (service / "people.csv").write_text("\n".join(["id,region", *lines]))
    words = (f"file={service / 'by_region.yaml'}", f"users={service / 'people.csv'}", "users_id=id")
    assert run(monkeypatch, service, "experiment=variety", f"log={service / 'events'}", *words) == 0
    facts = json.loads((service / "out" / "variety" / "experiment.json").read_text())
    sizes = {part["part"]: part["n_units"] for part in facts["slices"]}
    # Users of whom nothing is known are a part of their own, too small to be shown; one row counts of two.
    n = N_USERS * 9 // 10
    assert sizes == {
        "region = north": N_USERS // 2 - 1,
        "region = south": n - N_USERS // 2,
        "policy = greedy": n,
    }
    assert facts["small_slices"] == ["region = (none)"]


def test_exposures_whose_window_is_open_at_the_cutoff_do_not_count_yet(
    monkeypatch: pytest.MonkeyPatch, service: Path
) -> None:
    log = f"log={service / 'events'}"
    # The last answers are a day old: within two days a click may still come.
    assert run(monkeypatch, service, "experiment=variety", log, "attribution.click_window_hours=36") == 0
    said = (service / "out" / "variety" / "experiment.json").read_text()
    (effect,) = json.loads(said)["metrics"][0]["effects"]["effects"]
    assert effect["low"] < RATES["varied"] - RATES["control"] < effect["high"], "of one answer, not of two"
    assert run(monkeypatch, service, "experiment=variety", log, "cutoff=2020-01-01") == 2


def test_plan_of_a_declared_experiment_is_by_what_came_before(
    monkeypatch: pytest.MonkeyPatch, service: Path
) -> None:
    assert run(monkeypatch, service, "experiment=variety", f"log={service / 'events'}", "mode=plan") == 0
    facts = json.loads((service / "out" / "variety" / "plan.json").read_text())
    assert (facts["n_units"], facts["n_arms"]) == (N_USERS * 9 // 10, 2)
    assert [found["effect"] for found in facts["effects"]] == pytest.approx([0.025, 0.05, 0.1])
    # One answer of each before it began, a click with probability 0.3 and taste.
    assert facts["mean"] == pytest.approx(0.3, abs=0.05)


def test_plan_takes_as_much_time_as_the_experiment_lasts_and_the_past_before_it(service: Path) -> None:
    config = declared_config(service / "experiments.yaml", "variety", service)
    start = config.moment(config.start)
    assert start is not None
    short = replace(config, end=datetime.fromtimestamp(start + 2 * DAY, UTC).isoformat())
    for now, until in ((start - DAY, start - DAY), (start + DAY, start)):
        planned = before_it_ran(short, now)
        assert planned.moment(planned.end) == until
        assert planned.moment(planned.start) == until - 2 * DAY
    assert before_it_ran(replace(short, start="", end=""), start).start == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("experiment=varietty",), "must be one of ['variety', 'silent', 'holdout'] of that file"),
        (("experiment=silent",), "is judged by metrics, got none"),
        ((), "got neither; give one of both"),
        (("experiment=variety", "file="), "looked for in a file, got none"),
        (("experiment=variety", "log=nowhere"), "which is no folder"),
        (("experiment=variety", "log="), "got log='' and table=''"),
        (("experiment=variety", "ab=hillstrom"), "got experiment=variety beside ab"),
    ],
)
def test_mistakes_are_told_in_words(
    monkeypatch: pytest.MonkeyPatch,
    service: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    said: str,
) -> None:
    assert run(monkeypatch, service, f"log={service / 'events'}", *words) == 2
    assert said in capsys.readouterr().err


def test_holdout_is_judged_by_its_share_with_those_held_out_as_control(service: Path) -> None:
    config = declared_config(service / "experiments.yaml", "holdout", service)
    assert config.arms == pytest.approx({"held_out": 0.02, "served": 0.98})
    assert (config.experiment, config.phase, config.unit) == ("holdout", "holdout", "user_id")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("metric: {}", "unknown field `metric`"),
        ("metrics: {clicks: {values: x}}", "unknown field `values`"),
        ("metrics: {clicks: {value: x, winsorise: 99}}", "< 1"),
        (
            "metrics: {clicks: {value: x}}, guardrails: [returns]",
            r"among the metrics \['clicks'\], got 'returns'",
        ),
        ("metrics: {r: {value: x, per: y, quantiles: [0.5]}}", "has no quantiles"),
        ("minimum_effect: 0.1", "got 0.1 and no metrics"),
        ("metrics: {m: {value: x}}, zone: Mars/Olympus", "zone 'Mars/Olympus' is not known"),
    ],
)
def test_declaration_that_could_not_be_judged_is_refused(tmp_path: Path, said: str, words: str) -> None:
    path = tmp_path / "experiments.yaml"
    path.write_text(f"experiments: {{a: {{arms: {{x: {{weight: 0.5}}, y: {{weight: 0.5}}}}, {said}}}}}")
    with pytest.raises(ConfigError, match=words):
        ExperimentFile.read(path).experiments["a"].experiment("a")
