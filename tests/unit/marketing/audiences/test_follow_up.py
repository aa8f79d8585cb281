"""Follow-up: wait, cap, stop, one contact per delivery id, and an effect that can be measured."""

import json

import pytest

from marquee.errors import ConfigError, DataError
from marquee.marketing.audiences.follow_up import (
    Entry,
    Planned,
    from_lines,
    measure_effect,
    plan_contacts,
    to_lines,
)
from marquee.marketing.config import Channel, FollowUpConfig

DAY = 86_400.0
MEMBERS = {"a": "contact", "b": "holdout", "c": "contact"}


def plan(config: FollowUpConfig, ledger: list[Entry], now: float, converted: tuple[str, ...] = ()) -> Planned:
    """Returns the plan, and adds to the ledger what it says."""
    planned = plan_contacts("keep", MEMBERS, converted, ledger, config, now)
    ledger += [*planned.entries, *planned.contacts]
    return planned


def ids(planned: Planned) -> list[str]:
    """Returns who is spoken to."""
    return [one.user_id for one in planned.contacts]


def test_members_are_spoken_to_once_and_some_are_held_back() -> None:
    ledger: list[Entry] = []
    first = plan(FollowUpConfig(), ledger, 0.0)
    assert (ids(first), first.skipped) == (["a", "c"], {"held back at random": 1})
    second = plan(FollowUpConfig(), ledger, DAY)
    assert (ids(second), second.skipped) == ([], {"had their contact": 3})


def test_members_wait_from_the_day_on_which_they_joined() -> None:
    ledger: list[Entry] = []
    config = FollowUpConfig(wait_days=2)
    assert plan(config, ledger, 0.0).skipped == {"waits": 3}
    assert plan(config, ledger, 1.9 * DAY).skipped == {"waits": 3}
    assert ids(plan(config, ledger, 2.0 * DAY)) == ["a", "c"]


def test_nobody_is_spoken_to_more_often_than_the_cap_over_all_audiences() -> None:
    ledger = [Entry("other", "a", "contact", 0.0, "x")]
    planned = plan(FollowUpConfig(cap=1, cap_days=7), ledger, 3 * DAY)
    assert ids(planned) == ["c"]
    assert planned.skipped["spoken to often enough"] == 1
    assert ids(plan(FollowUpConfig(cap=1, cap_days=7), ledger, 8 * DAY)) == ["a"]


def test_who_has_converted_is_left_alone() -> None:
    planned = plan(FollowUpConfig(), [], 0.0, converted=("a",))
    assert (ids(planned), planned.skipped["converted"]) == (["c"], 1)


def test_a_second_contact_waits_and_has_an_id_of_its_own() -> None:
    ledger: list[Entry] = []
    config = FollowUpConfig(again_days=10, cap=5)
    first = plan(config, ledger, 0.0).contacts
    assert plan(config, ledger, 9 * DAY).contacts == ()
    second = plan(config, ledger, 10 * DAY).contacts
    assert [one.user_id for one in second] == ["a", "c"]
    assert not {one.delivery_id for one in first} & {one.delivery_id for one in second}


def test_a_contact_that_was_not_noted_is_sent_again_under_the_same_id() -> None:
    ledger: list[Entry] = []
    lost = plan_contacts("keep", MEMBERS, (), ledger, FollowUpConfig(), 0.0)
    again = plan_contacts("keep", MEMBERS, (), list(lost.entries), FollowUpConfig(), DAY)
    assert [one.delivery_id for one in lost.contacts] == [one.delivery_id for one in again.contacts]


def test_the_effect_is_measured_by_those_who_were_held_back() -> None:
    spoken = [Entry("keep", f"s{row}", "contact", 0.0, str(row)) for row in range(1000)]
    held = [Entry("keep", f"h{row}", "held back", 0.0) for row in range(500)]
    converted = {*(f"s{row}" for row in range(150)), *(f"h{row}" for row in range(50))}
    effect = measure_effect("keep", [*spoken, *held], converted)
    assert effect is not None
    assert (effect.rate_contact, effect.rate_held) == (0.15, 0.10)
    # By hand: Wilson 0.1293 to 0.1735 and 0.0767 to 0.1294.
    assert effect.difference.low == pytest.approx(0.0141, abs=5e-4)
    assert effect.difference.high == pytest.approx(0.0831, abs=5e-4)
    assert measure_effect("keep", spoken, converted) is None


def test_the_ledger_survives_disk_and_a_line_that_was_cut_off() -> None:
    entries = [Entry("keep", "a", "contact", 1.5, "x"), Entry("keep", "ü", "joined", 2.0)]
    assert from_lines(to_lines(entries), "ledger") == entries
    assert from_lines(to_lines(entries) + '{"audience": "ke', "ledger") == entries
    with pytest.raises(DataError, match="ledger line 1 is no entry"):
        from_lines(json.dumps({"a": 1}) + "\n", "ledger")


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"url": "https://evil.example/x", "hosts": ["crm.example"]}, "one of hosts"),
        ({"url": "http://crm.example/x", "hosts": ["crm.example"]}, "https://"),
        ({"url": "https://crm.example/x", "hosts": ["crm.example"]}, "must be signed"),
    ],
)
def test_a_webhook_that_is_not_allowed_is_refused(declared: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        FollowUpConfig(channel=Channel.webhook, **declared)  # type: ignore[arg-type] # that is the point
