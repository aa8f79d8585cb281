"""The choice of a creative: propensities are frequencies, the bandit learns, replays are equal."""

from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare

from marquee.decision.creatives.choosing import CreativeCounts, CreativeSet, read_creatives
from marquee.decision.policies.config import Exploration, PolicyName
from marquee.errors import ConfigError

DECLARED: list[dict[str, object]] = [
    {"name": "price", "template": "{title} for {price:.2f}"},
    {"name": "plain", "template": "{title}"},
    {"name": "genre", "template": "{title}: {genres}", "max_length": 30},
]
ITEM = {"title": "Blue", "price": 3.0, "genres": ["Jazz"]}
THOMPSON = Exploration(policy=PolicyName.thompson, floor=0.05)


def names(creatives: CreativeSet, n: int, counts: CreativeCounts) -> tuple[Counter[str], dict[str, float]]:
    """Returns how often each creative was chosen in n decisions, and its mean propensity times n."""
    chosen: Counter[str] = Counter()
    expected: dict[str, float] = dict.fromkeys(("price", "plain", "genre"), 0.0)
    for number in range(n):
        found = creatives.choose(ITEM, f"d{number}", "i1", counts)
        assert found is not None
        chosen[found.name] += 1
        # 1 / propensity of the chosen estimates 1 for each name that can be chosen.
        expected[found.name] += 1 / found.propensity
    return chosen, expected


def test_greedy_choice_is_the_first_that_may_be_shown() -> None:
    creatives = read_creatives(DECLARED)
    found = creatives.choose(ITEM, "d1", "i1")
    assert found is not None
    assert (found.name, found.text, found.propensity) == ("price", "Blue for 3.00", 1.0)
    unshown: Counter[str] = Counter()
    fallback = creatives.choose({"title": "Blue"}, "d1", "i1", unshown=unshown)
    assert fallback is not None
    assert fallback.name == "plain"
    assert unshown == {"price: missing price": 1, "genre: missing genres": 1}


def test_item_of_which_nothing_may_be_shown_has_no_creative() -> None:
    assert read_creatives(DECLARED).choose({}, "d1", "i1") is None
    assert read_creatives(DECLARED, THOMPSON).choose({"title": "x" * 200}, "d1", "i1") is None


def test_propensities_are_those_of_the_draws() -> None:
    creatives = read_creatives(DECLARED, Exploration(policy=PolicyName.epsilon, epsilon=0.6))
    chosen, _ = names(creatives, 3000, CreativeCounts())
    # Greedy is the first; a draw of three by 0.6.
    expected = [3000 * share for share in (0.4 + 0.2, 0.2, 0.2)]
    assert chisquare([chosen[name] for name in ("price", "plain", "genre")], expected).pvalue > 0.01
    found = creatives.choose(ITEM, "d1", "i1")
    assert found is not None
    assert found.propensity == pytest.approx(0.6 if found.name == "price" else 0.2)


def test_weights_by_propensity_are_unbiased_under_the_bandit() -> None:
    counts = CreativeCounts({"price": 200, "plain": 200, "genre": 20}, {"price": 8, "plain": 12, "genre": 1})
    _, weighed = names(read_creatives(DECLARED, THOMPSON), 2000, counts)
    for total in weighed.values():
        assert total == pytest.approx(2000, rel=0.25)


def test_bandit_finds_the_creative_that_is_clicked() -> None:
    generator = np.random.default_rng(0)
    truth = {"price": 0.05, "plain": 0.05, "genre": 0.15}
    shown: Counter[str] = Counter()
    clicked: Counter[str] = Counter()
    creatives = read_creatives(DECLARED, THOMPSON)
    for number in range(1500):
        found = creatives.choose(ITEM, f"d{number}", "i1", CreativeCounts(shown, clicked))
        assert found is not None
        shown[found.name] += 1
        clicked[found.name] += int(generator.random() < truth[found.name])
    assert shown["genre"] > 0.6 * 1500
    # An even draw would have a rate of 0.083.
    assert clicked.total() / 1500 > 0.105


def test_equal_ids_draw_the_same_and_items_of_one_answer_do_not() -> None:
    creatives = read_creatives(DECLARED, Exploration(policy=PolicyName.softmax, temperature=1.0))
    one = [creatives.choose(ITEM, "d1", f"i{number}") for number in range(40)]
    assert one == [creatives.choose(ITEM, "d1", f"i{number}") for number in range(40)]
    assert len({found.name for found in one if found is not None}) == 3


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ([], "needs 1 to 50 creatives"),
        ([DECLARED[1], DECLARED[1]], "of different names"),
        ([{"name": "a"}], "needs name and template"),
        (
            [{"name": "a", "template": "{title}", "longest": 3}],
            r"creatives\[0\].longest must be one of",
        ),
        ([{"name": "a", "template": "{title}", "max_length": "3"}], "max_length"),
        ([{"name": "a", "template": "{title}", "max_length": 0}], "max_length of 1 or more"),
    ],
)
def test_declarations_that_are_none_are_refused(declared: list[dict[str, object]], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_creatives(declared)
