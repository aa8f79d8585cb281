"""A set of rules as the arm of an experiment: who has it, what the record says, and that it is made again."""

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from marquee.bundle.releases import activate
from tests.support.bundles import publish_tiny
from tests.support.experiment_service import Service

CALLERS = [f"caller-{number}" for number in range(60)]
PINS = "experiments: {pins: {coverage: 0.8, arms: {plain: {weight: 0.5}, pinned: {weight: 0.5}}}}"
PINNED = {"experiment": "pins", "arm": "pinned"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One release, which is current."""
    path = publish_tiny(tmp_path_factory.mktemp("bundles"))
    activate(path)
    return path.parent


@pytest.fixture
def service(home: Path, tmp_path: Path) -> Iterator[Service]:
    service = Service(home, tmp_path, PINS)
    yield service
    service.written()
    gc.unfreeze()


def arm_of(answer: dict[str, Any]) -> str | None:
    found: str | None = answer.get("experiments", {}).get("pins")
    return found


def ask(service: Service) -> list[Any]:
    return service.ask(*[{"user_id": caller, "k": 4} for caller in CALLERS])


def test_rule_holds_in_its_arm_alone_and_the_answer_can_be_made_again(service: Service) -> None:
    before = ask(service)
    last = before[0]["items"][-1]["item_id"]
    rules = [
        {"id": "first", "arms": [PINNED], "pin": [{"item_id": last, "place": 1}]},
        {"id": "other", "except_arms": [PINNED], "boost": {"weight": 0.5, "items": ["i001"]}},
    ]
    assert service.send("PUT", "/v1/rules", {"rules": rules}).status == 200
    assert service.send("GET", "/v1/rules").json()["rules"][0]["arms"] == [PINNED]
    after = ask(service)
    assert {arm_of(answer) for answer in after} == {None, "plain", "pinned"}
    for answer in after:
        is_pinned = arm_of(answer) == "pinned"
        assert ("first" in answer.get("rules", ())) is is_pinned
        assert (answer["items"][0]["item_id"] == last) is is_pinned or not is_pinned
        assert ("other" in answer.get("rules", ())) <= (not is_pinned)
    for answer in (next(one for one in after if arm_of(one) == arm) for arm in ("pinned", "plain", None)):
        told = service.send("GET", f"/v1/why/{answer['decision_id']}").json()
        assert told["replay"]["outcome"] == "agrees"
        (held,) = told["record"]["rules_for_users"]
        if arm_of(answer) == "pinned":
            assert (held["rule_id"], held["arms"]) == ("first", [PINNED])
        else:
            assert (held["rule_id"], held["except_arms"]) == ("other", [PINNED])


def test_dry_run_tries_a_rule_on_the_decisions_of_its_arm(service: Service) -> None:
    answers = ask(service)
    service.wait_for(len(CALLERS))
    last = answers[0]["items"][-1]["item_id"]
    rules = [{"id": "first", "arms": [PINNED], "pin": [{"item_id": last, "place": 1}]}]
    trial = service.send("POST", "/v1/rules/dry_run", {"rules": rules, "sample": len(CALLERS)}).json()
    assert trial["applied"] == {"first": sum(arm_of(answer) == "pinned" for answer in answers)}


@pytest.mark.parametrize(
    ("arm", "field", "said"),
    [
        ({"experiment": "pin", "arm": "pinned"}, "experiment", "['pins', 'canary'], got 'pin'"),
        ({"experiment": "pins", "arm": "pined"}, "arm", "['plain', 'pinned'], got 'pined'"),
    ],
)
def test_arm_that_is_none_is_refused(service: Service, arm: object, field: str, said: str) -> None:
    rules = [{"id": "r", "arms": [arm], "block": {"items": ["i001"]}}]
    refused = service.send("PUT", "/v1/rules", {"rules": rules})
    error = refused.json()["error"]
    assert (refused.status, error["field"]) == (422, f"rules[0].arms[0].{field}")
    assert said in error["message"]
