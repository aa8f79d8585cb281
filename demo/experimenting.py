"""Runs two experiments on the simulated market through the service: one without effect, one with a known one.

People of the market are drawn into arms by the service, shown what their arm shows, and click as the market's
truth has it. Of the second experiment the truth is known: what each of them would have done in either arm.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any  # of JSON

import numpy as np
from rich.console import Console
from rich.table import Table

from demo.errors import DemoError
from demo.processes import free_port, run_command, running_server, service_command, service_environment
from demo.telling import EventLoop
from marquee.bundle.bundle import Bundle
from marquee.client import Client, EventMessage, RecommendAnswer, RecommendRequest, ServiceError
from marquee.core.arrays import Float64Array, IndexArray
from marquee.core.catalog import ItemKind
from marquee.decision.policies.config import Exploration, PolicyName
from marquee.decision.recommender import Recommender
from marquee.decision.requests import Request
from marquee.world import World

K = 5
SAME, ORDER = "same", "order"
TEMPERATURE, FLOOR = 0.5, 0.05

EXPERIMENTS = f"""\
# Each is judged by `python -m training.experiment experiment=… file=experiments.yaml log=events`.
experiments:
  {SAME}: # an A/A test: the arms differ in nothing, and whoever finds a difference is fooled
    arms: {{one: {{weight: 0.5}}, other: {{weight: 0.5}}}}
    metrics: {{clicks: {{value: clicked_at IS NOT NULL}}}}
    minimum_effect: 0.1
  {ORDER}: # an A/B test: places that are drawn, against those that the model holds for best
    arms:
      drawn: {{weight: 0.5, policy: {{name: softmax, temperature: {TEMPERATURE}, floor: {FLOOR}}}}}
      best: {{weight: 0.5}}
    metrics:
      clicks: {{value: clicked_at IS NOT NULL}}
      clicks per place: {{value: clicked_at IS NOT NULL, per: "1"}}
    guardrails: [clicks per place]
    minimum_effect: 0.1
"""

_PER_CALL = 100
_PATIENCE_S = 30.0
# Nobody clicks any more: windows may be taken for closed that would be open for another minute.
_WINDOW_HOURS, _WINDOW_S = 1 / 60, 120


@dataclass(frozen=True)
class Crowd:
    """The people of a market that are asked, and what they would click.

    Attributes:
        world: The market.
        users: Their ids.
        requests: A request of each to the market, by row.
        item_rows: Item id → row of the market.
    """

    world: World
    users: tuple[str, ...]
    requests: IndexArray
    item_rows: Mapping[str, int]

    @classmethod
    def of(cls, world: World) -> "Crowd":
        """Returns everybody who came to the market; their last request says device and time of day."""
        user = world.market.requests.user
        # Of reversed rows the first one of each is the last.
        rows, last = np.unique(user[::-1], return_index=True)
        ids = world.users["user_id"].to_list()
        item_ids = world.items["item_id"].to_list()
        return cls(
            world,
            tuple(ids[row] for row in rows.tolist()),
            len(user) - 1 - last,
            {item_id: row for row, item_id in enumerate(item_ids)},
        )

    def respond(self, slates: Sequence[Sequence[str]]) -> tuple[Float64Array, list[list[str]]]:
        """Returns how many clicks are expected of each person's slate, (n_users,), and the items clicked."""
        lengths = np.array([len(slate) for slate in slates])
        whose = np.repeat(np.arange(len(slates)), lengths)
        item = np.array([self.item_rows[item_id] for slate in slates for item_id in slate], dtype=np.int64)
        position = np.concatenate([np.arange(1, n + 1) for n in lengths.tolist()])
        said = self.world.market.respond(self.requests[whose], item, position)
        expected = np.zeros(len(slates))
        np.add.at(expected, whose, said.click_probability)
        is_clicked = iter(said.is_clicked.tolist())
        return expected, [[item_id for item_id in slate if next(is_clicked)] for slate in slates]


def run_experiments(console: Console, world: World, bundle: Bundle, folder: Path) -> list[str]:
    """Runs both experiments, and shows both reports beside the truth.

    Args:
        console: Shows them.
        world: The market that the bundle was trained on.
        bundle: Answers.
        folder: Is made; holds the declarations, the log and the reports.

    Returns:
        Reasons why a report makes no sense; none if both do.

    Raises:
        DemoError: If the service or a report fails.
    """
    loop, file = EventLoop.make(folder), folder / "experiments.yaml"
    file.write_text(EXPERIMENTS, encoding="utf8")
    crowd = Crowd.of(world)
    url = f"http://127.0.0.1:{(port := free_port())}"
    environment = {**service_environment(bundle.path), **loop.environment, "MARQUEE_EXPERIMENTS": str(file)}
    with (
        running_server(service_command(port), environment, url, folder / "service.log"),
        Client(url, key=loop.key, deadline_s=_PATIENCE_S) as client,
    ):
        answers = _ask_all(client, crowd)
        slates = [[item.item_id for item in answer.items] for answer in answers]
        _, clicked = crowd.respond(slates)
        n_clicks = _tell(client, crowd, answers, clicked)
    console.print(
        f"{len(answers):,} people of the market were shown {K} items each, and clicked {n_clicks:,} times",
        highlight=False,
    )
    truth = {SAME: 0.0, ORDER: true_effect(crowd, bundle)}
    reports = _reports(list(truth), file, loop, folder)
    _show(console, reports, truth)
    return wrong_reports(reports, truth)


def true_effect(crowd: Crowd, bundle: Bundle) -> float:
    """Returns by how many clicks per person the second experiment truly changes them.

    Everybody is asked for in both arms, which nobody can be in at once.
    """
    recommender = Recommender.load(bundle.path)
    now = int(time.time())
    drawing = Exploration(policy=PolicyName.softmax, temperature=TEMPERATURE, floor=FLOOR)
    in_arms = []
    for exploration in (drawing, Exploration()):
        asked = [
            Request(
                timestamp=now,
                k=K,
                user_id=user,
                kind=ItemKind.content,
                exploration=exploration,
                decision_id=f"truth-{user}",
            )
            for user in crowd.users
        ]
        answers = recommender.recommend(asked)
        expected, _ = crowd.respond([[item.item_id for item in answer.items] for answer in answers])
        in_arms.append(float(expected.mean()))
    return in_arms[1] - in_arms[0]


def wrong_reports(reports: Mapping[str, Mapping[str, Any]], truth: Mapping[str, float]) -> list[str]:
    """Returns the faults of the reports; chance makes none of them in a thousand runs."""
    wrong = []
    for name, report in reports.items():
        if report["sample_ratio"]["is_mismatch"]:
            wrong.append(f"experiment {name} lost people on the way: {report['sample_ratio']['observed']}")
            continue
        effect = _effect(report)
        if effect is None:
            wrong.append(f"experiment {name} could not be tested: {report['metrics'][0]['reasons']}")
            continue
        # Half the always-valid interval is more than three standard errors.
        reach = effect["always_high"] - effect["difference"]
        if abs(effect["difference"] - truth[name]) > 1.5 * reach:
            wrong.append(f"experiment {name} says {effect['difference']:.3f}, the truth is {truth[name]:.3f}")
    return wrong


def _ask_all(client: Client, crowd: Crowd) -> list[RecommendAnswer]:
    """Returns the answer to each person, in their order."""
    answers: list[RecommendAnswer] = []
    for start in range(0, len(crowd.users), _PER_CALL):
        asked = [
            RecommendRequest(user_id=user, k=K, kind=ItemKind.content.value)
            for user in crowd.users[start : start + _PER_CALL]
        ]
        try:
            found = client.recommend_batch(asked)
        except ServiceError as error:
            raise DemoError(f"the service gave no answers to {len(asked)} people: {error}") from error
        refused = [one for one in found if not isinstance(one, RecommendAnswer)]
        if refused:
            raise DemoError(f"the service refused {len(refused)} of {len(asked)} people: {refused[0]}")
        answers += [one for one in found if isinstance(one, RecommendAnswer)]
    return answers


def _tell(
    client: Client, crowd: Crowd, answers: Sequence[RecommendAnswer], clicked: Sequence[Sequence[str]]
) -> int:
    """Tells the service who clicked what of its answers, and returns how many clicks there are."""
    now = int(time.time())
    events = [
        EventMessage(
            kind="click", item_id=item_id, timestamp=now, user_id=user, decision_id=answer.decision_id
        )
        for user, answer, items in zip(crowd.users, answers, clicked, strict=True)
        for item_id in items
    ]
    try:
        told = client.send_events(events)
    except ServiceError as error:
        raise DemoError(f"the service did not keep {len(events)} clicks: {error}") from error
    if told.accepted != len(events):
        raise DemoError(f"the service must keep {len(events)} clicks, got {told}; see its log")
    return len(events)


def _reports(names: Sequence[str], file: Path, loop: EventLoop, folder: Path) -> dict[str, Any]:
    """Runs the command that judges experiments, and returns the numbers of each."""
    arguments = [
        "-m",
        "training.experiment",
        f"experiment={','.join(names)}",
        f"hydra.sweep.dir={folder / 'asked'}",
        f"file={file}",
        f"log={loop.log}",
        f"cutoff={int(time.time()) + _WINDOW_S}",
        f"attribution.click_window_hours={_WINDOW_HOURS}",
        f"out={folder}",
        # One process for both: half of what a report takes is to start it.
        "--multirun",
    ]
    run_command("the reports of experiments", arguments)
    return {
        name: json.loads((folder / name / "experiment.json").read_text(encoding="utf8")) for name in names
    }


def _effect(report: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Returns the effect on the metric that decides, None where there is none to show."""
    effects = report["metrics"][0]["effects"] if report["metrics"] else None
    found: Mapping[str, Any] | None = effects["effects"][0] if effects else None
    return found


def _show(console: Console, reports: Mapping[str, Mapping[str, Any]], truth: Mapping[str, float]) -> None:
    """Prints each report beside the truth."""
    table = Table()
    for column in (
        "experiment",
        "people",
        "clicks each",
        "difference",
        "always valid",
        "truth",
        "says",
    ):
        table.add_column(column, justify="left" if column in ("experiment", "says") else "right")
    for name, report in reports.items():
        shown = [f"{n:,}" for n in report["sample_ratio"]["observed"].values()]
        effect = _effect(report)
        if effect is None:
            table.add_row(name, " / ".join(shown), "", "", "", f"{truth[name]:+.3f}", "cannot tell")
            continue
        table.add_row(
            name,
            " / ".join(shown),
            f"{effect['control']:.3f} / {effect['treated']:.3f}",
            f"{effect['difference']:+.3f}",
            f"{effect['always_low']:+.3f} to {effect['always_high']:+.3f}",
            f"{truth[name]:+.3f}",
            report["arms"][0]["verdict"]["conclusion"],
        )
    console.print(table)
