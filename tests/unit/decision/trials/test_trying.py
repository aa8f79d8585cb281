"""Two sets of rules on the same decisions: what differs, and the clicks to be expected."""

import pytest

from marquee.core.catalog import ItemKind
from marquee.decision.requests import Answer, Recommendation, Source
from marquee.decision.trials.trying import ClickModel, Comparison, ItemShift
from marquee.store.log.event_log import Decision, Place


def decision(decision_id: str, *items: str) -> Decision:
    return Decision(decision_id=decision_id, time_ms=0, places=tuple(Place(item, 1.0, 1.0) for item in items))


def answer(*items: str, rules: tuple[str, ...] = ()) -> Answer:
    shown = tuple(Recommendation(item, 1.0, ItemKind.content) for item in items)
    return Answer(shown, Source.history, "v", len(items), rules=rules)


LOG = [decision("d1", "a", "b"), decision("d2", "a", "b"), decision("d3", "b", "a"), decision("d4", "c")]
CLICKED = {("d1", "a"), ("d2", "a"), ("d3", "a"), ("elsewhere", "a")}


def test_clicks_are_those_of_the_place_times_how_well_the_item_does() -> None:
    model = ClickModel(LOG, CLICKED)
    first, second = 2 / 4, 1 / 3  # two of four answers were clicked at the first place, one of three below
    of_a = (3 + 1) / (2 * first + second + 1)
    of_b = (0 + 1) / (first + 2 * second + 1)
    assert model.n_clicks == 3
    assert model.expected(["a", "b"]) == pytest.approx(first * of_a + second * of_b)
    # An item that was never shown does as well as its place; a place that nobody has seen brings nothing.
    assert model.expected(["new", "new", "a"]) == pytest.approx(first + second)


def test_comparison_counts_answers_items_and_rules() -> None:
    comparison = Comparison(ClickModel(LOG, CLICKED))
    comparison.add(answer("a", "b"), answer("b", "a", rules=("r",)))
    comparison.add(answer("a", "b"), answer("a", "b"))
    comparison.add(answer("a", "b"), answer("c", "a", rules=("r", "s")))
    trial = comparison.trial()
    assert (trial.n_asked, trial.n_changed) == (3, 2)
    assert trial.gaining == [ItemShift("c", 0, 1)]
    assert trial.losing == [ItemShift("b", 3, 2)]
    assert trial.applied == {"r": 2, "s": 1}
    assert trial.clicks is not None
    model = ClickModel(LOG, CLICKED)
    assert trial.clicks.before == pytest.approx(3 * model.expected("ab"))
    assert trial.clicks.after == pytest.approx(sum(map(model.expected, ("ba", "ab", "ca"))))


def test_nothing_is_predicted_where_nobody_clicked() -> None:
    comparison = Comparison(ClickModel(LOG, set()))
    assert comparison.trial().clicks is None
    comparison.add(answer("a"), answer("b"))
    assert comparison.trial().clicks is None
