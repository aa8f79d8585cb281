"""Evidence beside a change: what an arm would earn by the log, an alarm after the market changed, the card.

The log is one that the service's own policy would have made of the people of a simulated market, whose truth
is known: estimates stand beside it.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console

from demo.experimenting import ORDER, SAME, Crowd, K
from demo.processes import run_command
from marquee.bundle.bundle import Bundle
from marquee.core.arrays import IndexArray
from marquee.core.catalog import ItemKind
from marquee.decision.policies.config import Exploration, PolicyName
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Decided, Request
from marquee.evaluation.off_policy.logged import UNKNOWN, Spread, read_slates, weigh_candidate
from marquee.evaluation.off_policy.served import spread_answers
from marquee.evaluation.off_policy.slates import Browsing, SlateValue, estimate_slates
from marquee.world import World, simulate

TEMPERATURE, FLOOR = 0.1, 0.05
"""Of the policy that logs: near enough to the best order for its log to speak of that."""

N_PLACES = 1
"""Places that are estimated: of long lists a small log says nothing."""

_CHANGED_DAYS = 7
_ALARM = 2


def estimate_first(console: Console, world: World, bundle: Bundle) -> list[str]:
    """Estimates the arm of the best order by the log of an exploring release, beside the truth.

    Returns:
        Reasons why the estimate makes no sense; none if it does.
    """
    recommender, crowd = Recommender.load(bundle.path), Crowd.of(world)
    exploring = Exploration(policy=PolicyName.softmax, temperature=TEMPERATURE, floor=FLOOR)
    asked = _requests(crowd, exploring)
    decided = recommender.decide(asked)
    slates = [[item.item_id for item in one.answer.items] for one in decided]
    _, clicked = crowd.respond(slates)
    rows = pl.DataFrame(
        [
            {
                "request_id": request.decision_id,
                "user_id": request.user_id,
                "position": place,
                "number": crowd.item_rows[item],
                "propensity": propensity,
                "reward": float(item in own),
                "policy": "softmax",
            }
            for request, slate, one, own in zip(asked, slates, decided, clicked, strict=True)
            for place, (item, propensity) in enumerate(_placed(slate, one), start=1)
        ]
    )
    best = _requests(crowd, Exploration())
    found = _estimate(rows, crowd, recommender, best, slates)
    truth = _truth(crowd, recommender, best)
    return _show(console, found, truth)


def _placed(slate: Sequence[str], decided: Decided) -> list[tuple[str, float]]:
    """Returns each item of an answer with its propensity."""
    assert decided.propensities is not None, "an answer that was drawn has propensities"
    return list(zip(slate, decided.propensities.tolist(), strict=True))


def _requests(crowd: Crowd, exploration: Exploration) -> list[Request]:
    """Returns a request of everybody, by a policy."""
    now = int(time.time())
    return [
        Request(
            timestamp=now,
            k=K,
            user_id=user,
            kind=ItemKind.content,
            exploration=exploration,
            decision_id=f"estimate-{user}",
        )
        for user in crowd.users
    ]


def _estimate(
    rows: pl.DataFrame,
    crowd: Crowd,
    recommender: Recommender,
    candidate: Sequence[Request],
    slates: Sequence[Sequence[str]],
) -> SlateValue:
    """Returns the value of the candidate at the first places, by the log."""
    rng = np.random.default_rng(0)
    log = read_slates(rows, rows.height, rng).first(N_PLACES)
    spreads = (
        Spread(_numbers(crowd, items), chances)
        for items, chances in spread_answers(recommender, candidate, slates)
    )
    was_shown = np.zeros(len(crowd.item_rows), dtype=np.bool_)
    was_shown[rows["number"].to_numpy()] = True
    lists = weigh_candidate(log, spreads, was_shown, rng)
    return estimate_slates(lists, Browsing.cascade)


def _numbers(crowd: Crowd, items: Sequence[str]) -> IndexArray:
    """Returns the row of each item in the market."""
    return np.array([crowd.item_rows.get(item, UNKNOWN) for item in items], dtype=np.int64)


def _truth(crowd: Crowd, recommender: Recommender, candidate: Sequence[Request]) -> float:
    """Returns the clicks that the candidate would truly gain at the first places."""
    answers = recommender.recommend(candidate)
    expected, _ = crowd.respond([[item.item_id for item in answer.items[:N_PLACES]] for answer in answers])
    return float(expected.mean())


def _show(console: Console, found: SlateValue, truth: float) -> list[str]:
    """Prints the estimate beside the truth; returns what is wrong with it."""
    value = found.value
    name = value.headline
    if name is None:
        console.print(f"not identifiable: {value.support.reason}", highlight=False)
        return []
    best = value.estimates[name]
    console.print(
        f"by a log that explores, {value.logged.mean:.3f} clicks at the top place: the best order would earn "
        f"{best.mean:.3f} ({best.low:.3f} to {best.high:.3f}), the truth is {truth:.3f}; "
        f"{value.support.effective:.0f} of {value.support.n_decisions:,} answers speak about it",
        highlight=False,
    )
    # More than twice as far as the interval reaches: chance does not make that.
    if abs(best.mean - truth) > 2 * (best.high - best.low):
        return [f"the log says {best.mean:.3f}, the truth is {truth:.3f}"]
    return []


def raise_an_alarm(console: Console, world: World, bundle: Bundle, folder: Path) -> list[str]:
    """Changes the market, and has the log of its next week held against what the bundle knows.

    Returns:
        Reasons why nobody was alarmed; none if somebody was.
    """
    config = world.config
    changed = replace(
        config,
        start=config.start + config.n_days * 86_400,
        n_days=_CHANGED_DAYS,
        requests_per_user=config.requests_per_user * _CHANGED_DAYS / config.n_days,
        exploration=0.9,
    )
    folder.mkdir(parents=True, exist_ok=True)
    simulate(changed).events.write_parquet(folder / "next_week.parquet")
    console.print("the market changes: from now on most of what it shows is drawn at random", highlight=False)
    arguments = [
        "-m",
        "training.monitor",
        f"reference={bundle.path}",
        f"current={folder / 'next_week.parquet'}",
        f"out={folder}",
    ]
    status = run_command("the watch for drift", arguments, accepted=(0, _ALARM))
    return [] if status == _ALARM else ["the market was changed, and nobody was alarmed"]


def show_card(console: Console, run: Path, drift: Path, experiments: Path) -> None:
    """Writes the card of the model, with what was seen since, and prints where it lies.

    Raises:
        DemoError: If the card cannot be written.
    """
    tried = [experiments / name / "experiment.json" for name in (SAME, ORDER)]
    given = ",".join(str(path) for path in tried if path.is_file())
    arguments = [
        "-m",
        "training.card",
        f"run={run}",
        "card=world",
        "protected=[age_band]",
        f"drift={drift / 'drift.json'}",
        f"experiments=[{given}]",
    ]
    run_command("the card", arguments)
    text = (run / "card.md").read_text(encoding="utf8")
    titles = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    console.print(f"its sections: {', '.join(titles)}", highlight=False)
