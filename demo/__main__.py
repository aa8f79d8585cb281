"""`python -m demo [data=world] [cluster=ray] [key=value …]`: from events to answers over HTTP in one command.

With a cluster, data are prepared and users are scored in parts on it: `local` in processes, `ray` on a Ray.
Every further `key=value` goes to `training.train` as it is. Exits 0 only if every step succeeded and
every answer made sense, and leaves nothing running however it ends.
"""

import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from types import FrameType

import msgspec
from omegaconf import OmegaConf
from rich.console import Console

from demo.advertising import sell_slots
from demo.crowd import Trend, follow_a_trend
from demo.customers import show_customers
from demo.deciding import pin_an_item
from demo.errors import DemoError
from demo.evidence import estimate_first, raise_an_alarm, show_card
from demo.experimenting import run_experiments
from demo.explaining import explain_an_answer
from demo.forgetting import forget_a_person
from demo.market import market_of
from demo.pacing import show_pacing
from demo.parts import prepare, score, validate_cluster
from demo.processes import (
    ROOT,
    free_port,
    run_command,
    running_server,
    service_command,
    service_environment,
)
from demo.questions import choose_questions, followers_question, item_kinds, problems, titles
from demo.screen import show_answer, show_end, show_step
from demo.telling import EventLoop, click_and_ask_again
from marquee.bundle.bundle import Bundle
from marquee.bundle.manifest import CARD_FILES
from marquee.client import Client, RecommendAnswer, RecommendRequest, ServiceError
from marquee.core.catalog import ItemKind
from marquee.errors import MarqueeError

USAGE = "usage: python -m demo [data=world] [cluster=ray] [key=value …]"
N_STEPS = 13
K = 5
PATIENCE_S = 10.0
REFUSED = 3
"""Exit status of a loop that publishes nothing, and says why not."""


@dataclass(frozen=True)
class Options:
    """The arguments of the command line.

    Attributes:
        data: Name of a data set: a file in configs/data.
        name: What its config calls it, and so its runs and bundles.
        runs: Folder of the run folders.
        bundles: Folder of the bundles.
        cluster: Who prepares and scores in parts; empty to do neither.
        overrides: Further settings, for training.
    """

    data: str
    name: str
    runs: Path
    bundles: Path
    cluster: str
    overrides: tuple[str, ...]


def read_options(arguments: Sequence[str]) -> Options:
    """Returns the options that the command line gives; raises DemoError for anything but key=value."""
    wrong = [argument for argument in arguments if "=" not in argument]
    if wrong:
        raise DemoError(f"every argument must have the form key=value, got {wrong[0]!r}. {USAGE}")
    given = dict(argument.split("=", maxsplit=1) for argument in arguments)
    data = given.pop("data", "world")
    known = sorted(path.stem for path in (ROOT / "configs" / "data").glob("*.yaml"))
    if data not in known:
        raise DemoError(f"data must be one of {', '.join(known)}, got {data!r}. {USAGE}")
    runs, bundles = ROOT / given.pop("runs", "runs"), ROOT / given.pop("bundles", "bundles")
    validate_cluster(cluster := given.pop("cluster", ""))
    declared = OmegaConf.load(ROOT / "configs" / "data" / f"{data}.yaml")
    name = given.get("data.name") or str(OmegaConf.select(declared, "name"))
    overrides = tuple(f"{key}={value}" for key, value in given.items())
    return Options(data, name, runs, bundles, cluster, overrides)


def train(options: Options) -> Path:
    """Trains, judges and reports; returns the run folder."""
    overrides = list(options.overrides)
    if options.cluster:
        to = options.runs / "prepared" / options.name
        overrides.append(prepare(options.cluster, options.data, to, options.overrides))
    started = time.time()
    arguments = ["-m", "training.train", f"data={options.data}", f"runs={options.runs}", *overrides]
    run_command("training", arguments)
    pointer = options.runs / options.name / "latest"
    # A `latest` of an earlier run must not be exported as this one; a file system may round its times.
    if not pointer.exists() or pointer.lstat().st_mtime < started - 1:
        raise DemoError(f"training ended well but left no {pointer}; see what it printed above")
    # Where there are no links, `latest` is a file that holds the name (`RunFolder`).
    name = pointer.readlink() if pointer.is_symlink() else pointer.read_text(encoding="utf8").strip()
    return pointer.parent / name


def export(options: Options, run: Path) -> Path:
    """Exports the model of a run; returns the folder of the bundle's current version."""
    run_command("export", ["-m", "training.export", f"run={run}", f"bundles={options.bundles}"])
    versions = options.bundles / run.parent.name
    bundle = versions / (versions / "CURRENT").read_text(encoding="utf8").strip()
    run_command("registration", ["-m", "serving.register", f"bundle={bundle}"])
    return bundle


def train_on_log(options: Options, run: Path, loop: EventLoop, trend: Trend) -> bool:
    """Trains on the event log, from the weights of a run; returns whether a release was published."""
    settings = [
        f"log={loop.log}",
        f"folder={run / 'loop' / 'work'}",
        # One click trains no model: the log is read beside the events of the data set.
        "beside=true",
        f"start.run={run}",
        "trainer.epochs=1",
        # Seconds of factorization: the demo has shown that baseline once.
        "evaluation.baselines.als=false",
        # What comes first is learned from, what comes behind is judged by: one model with no time to wait.
        "data.split.method=time",
        f"data.split.test_from={trend.judged_from}",
        "data.split.fit_on_validation=true",
    ]
    arguments = [*settings, f"data={options.data}", f"runs={options.runs}", f"bundles={options.bundles}"]
    # Start and trainer are set above for a short training from the run: the caller's would undo that.
    given = [override for override in options.overrides if not override.startswith(("start", "trainer."))]
    # A refusal by the gate is a result, and no failure of the demo.
    return run_command("loop", ["-m", "training.loop", *arguments, *given], accepted=(0, REFUSED)) == 0


def why_no_loop(options: Options) -> str:
    """Returns why events of the log cannot be judged by beside a data set; empty if they can."""
    declared = OmegaConf.load(ROOT / "configs" / "data" / f"{options.data}.yaml")
    # Files of a given split fix what is judged: events of the log would belong to none of the parts.
    if OmegaConf.select(declared, "events.paths"):
        return f"{options.data} says itself which events are judged"
    if OmegaConf.select(declared, "time") not in (None, "absolute"):
        return f"{options.data} has no moments that those of the log could follow"
    return ""


def train_and_follow(
    console: Console, client: Client, options: Options, run: Path, loop: EventLoop, bundle: Bundle
) -> list[str]:
    """Has a crowd click, trains on that, and asks the release that the service then follows.

    Returns:
        Reasons why its answer makes no sense; none if it does.
    """
    reason = why_no_loop(options)
    trend = None if reason else follow_a_trend(client, bundle)
    if trend is None:
        reason = reason or "there are too few items for a trend"
        console.print(f"The loop is left out: {reason}.", highlight=False)
        return []
    console.print(
        f"{trend.n_people} people follow a trend: {trend.n_events:,} clicks, made up, on the "
        f"{len(trend.items)} items that were chosen least so far",
        highlight=False,
    )
    published = train_on_log(options, run, loop, trend)
    told = time.perf_counter()
    if not published:
        console.print("\nThe loop has refused its model for the reasons above: what is served stays.")
        return []
    question = followers_question(bundle, trend.person, trend.clicked, K)
    while (found := ask(client, question.request()))[0].version == bundle.version:
        if time.perf_counter() - told > PATIENCE_S:
            return [f"the service did not take the new release within {PATIENCE_S:g} s"]
        time.sleep(0.1)
    answer, latency_ms = found
    console.print(
        f"\nThe loop has published: the running service answers by {answer.version} "
        f"{time.perf_counter() - told:.1f} s after that",
        highlight=False,
    )
    wrong = list(problems(question, answer))
    show_answer(console, question, answer, latency_ms, titles(bundle.catalog), wrong)
    n_followed = sum(item.item_id in trend.items for item in answer.items)
    console.print(f"{n_followed} of {len(answer.items)} belong to the trend", highlight=False)
    return wrong


def know_customers(console: Console, options: Options, run: Path) -> list[str]:
    """Shows the customers of a simulated market; returns what is wrong with them."""
    if market_of(run) is None:
        # Elsewhere no truth is known, and which column is a customer's only its owner can say.
        console.print(f"{options.data} is no simulated market; for tables of your own: docs/customers.md")
        return []
    return show_customers(console, run, options.runs)


def estimate(console: Console, options: Options, run: Path, bundle: Bundle) -> list[str]:
    """Estimates an arm of the experiments by a log; returns what is wrong with the estimate."""
    world = market_of(run)
    if world is None:
        # Elsewhere there is no truth to stand beside it.
        console.print(f"{options.data} is no simulated market; by a log of your own: docs/evidence.md")
        return []
    return estimate_first(console, world, bundle)


def watch_and_tell(console: Console, options: Options, run: Path, bundle: Bundle) -> list[str]:
    """Changes the market, raises the alarm and writes the card; returns what is wrong with the alarm."""
    world = market_of(run)
    if world is None:
        # The words of its card are for its owner to write.
        console.print(
            f"{options.data} is no simulated market; a log and a card of your own: docs/evidence.md"
        )
        return []
    wrong = raise_an_alarm(console, world, bundle, run / "drift")
    show_card(console, run, run / "drift", run / "experiments")
    return wrong + export_with_card(options, run)


def export_with_card(options: Options, run: Path) -> list[str]:
    """Exports the run once more, for its card was written after its bundle; returns what is wrong."""
    missing = CARD_FILES - {path.name for path in export(options, run).iterdir()}
    return [f"the bundle lacks {sorted(missing)} of its card"] if missing else []


def experiment(console: Console, options: Options, run: Path, bundle: Bundle) -> list[str]:
    """Runs experiments on a simulated market; returns what is wrong with their reports."""
    world = market_of(run)
    if world is None:
        # Elsewhere nobody clicks by a known truth: made-up clicks would prove nothing.
        console.print(f"{options.data} is no simulated market; on people of your own: docs/evidence.md")
        return []
    return run_experiments(console, world, bundle, run / "experiments")


def advertise(console: Console, options: Options, run: Path, bundle: Bundle) -> list[str]:
    """Sells slots to campaigns, and paces one over a day; returns what is wrong with ads or money."""
    wrong = sell_slots(console, bundle, run / "ads")
    world = market_of(run)
    if world is None:
        # Elsewhere nobody knows what others would have paid.
        console.print(f"{options.data} is no simulated market; for campaigns: docs/operating/campaigns.md")
        return wrong
    return wrong + show_pacing(console, world)


def ask(client: Client, request: RecommendRequest) -> tuple[RecommendAnswer, float]:
    """Returns the answer to a request and the milliseconds it took; raises DemoError if there is none."""
    started = time.perf_counter()
    try:
        answer = client.recommend(request)
    except ServiceError as error:
        raise DemoError(f"the service gave no answer to {request}: {error}") from error
    return answer, (time.perf_counter() - started) * 1000


def ask_everything(console: Console, client: Client, bundle: Bundle) -> list[str]:
    """Asks every question and shows every answer; returns what is wrong with them."""
    wrong: list[str] = []
    names = titles(bundle.catalog)
    for question in choose_questions(bundle, K):
        answer, latency_ms = ask(client, question.request())
        found = list(problems(question, answer))
        show_answer(console, question, answer, latency_ms, names, found)
        wrong += found
    if ItemKind.ad not in item_kinds(bundle.catalog):
        console.print("\n[dim]The catalog holds no ads, so none were asked for.[/]", highlight=False)
    return wrong


def show_paths(console: Console, options: Options, run: Path, bundle: Bundle) -> None:
    """Prints where report and bundle lie, and the commands to go on with."""
    body = msgspec.json.encode(choose_questions(bundle, K)[0].request()).decode()
    curl = f"curl -H 'Content-Type: application/json' -d '{body}' http://127.0.0.1:3000/v1/recommend"
    show_end(
        console,
        {"report": short(run / "report.html"), "run": short(run), "bundle": short(bundle.path)},
        {
            "serve": f"make serve BUNDLE={short(bundle.path.parent)}",
            "then ask": curl,
            "another model": f"make train DATA={options.data} ARGS=model=matrix_factorization",
            "other data": "make demo DATA=movielens-100k",
        },
    )


def short(path: Path) -> str:
    """Returns a path as a person would type it in the repository."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def run_demo(console: Console, options: Options) -> None:
    """Runs the whole circle; raises DemoError if a step fails or an answer makes no sense."""
    started = time.monotonic()
    show_step(console, 1, N_STEPS, f"train and judge on {options.data}")
    run = train(options)
    show_step(console, 2, N_STEPS, "export a bundle")
    folder = export(options, run)
    bundle = Bundle.load(folder)
    if options.cluster:
        score(options.cluster, folder, run / "scores", K)
    show_step(console, 3, N_STEPS, "serve it")
    url = f"http://127.0.0.1:{(port := free_port())}"
    loop, log = EventLoop.make(run / "loop"), run / "logs" / "service.log"
    # The loop's come last: events of the demo must not reach a log that our shell names. The folder of all
    # versions is served, so that the next release is followed.
    environment = {**service_environment(folder.parent), **loop.environment}
    console.print(f"starting the service at {url}, log in {short(log)}", soft_wrap=True, highlight=False)
    with (
        running_server(service_command(port), environment, url, log),
        Client(url, key=loop.key, deadline_s=PATIENCE_S) as client,
    ):
        show_step(console, 4, N_STEPS, "ask it")
        console.print(f"bundle {bundle.version} answers", highlight=False)
        wrong = ask_everything(console, client, bundle)
        show_step(console, 5, N_STEPS, "click, and ask again")
        wrong += click_and_ask_again(console, client, bundle, K)
        show_step(console, 6, N_STEPS, "let people decide")
        wrong += explain_an_answer(console, client, bundle, K)
        wrong += pin_an_item(console, client, bundle, K)
        show_step(console, 7, N_STEPS, "train on what happened, publish, and ask again")
        wrong += train_and_follow(console, client, options, run, loop, bundle)
    console.print("\nThe service is stopped.", highlight=False)
    show_step(console, 8, N_STEPS, "estimate an arm before anybody is shown it")
    wrong += estimate(console, options, run, bundle)
    show_step(console, 9, N_STEPS, "run experiments on people")
    wrong += experiment(console, options, run, bundle)
    show_step(console, 10, N_STEPS, "sell slots to campaigns")
    wrong += advertise(console, options, run, bundle)
    show_step(console, 11, N_STEPS, "forget a person")
    wrong += forget_a_person(console, bundle, run / "people", K)
    show_step(console, 12, N_STEPS, "know the customers")
    wrong += know_customers(console, options, run)
    show_step(console, 13, N_STEPS, "watch a market that changes, and write the card of the model")
    wrong += watch_and_tell(console, options, run, bundle)
    show_paths(console, options, run, bundle)
    # Only at the end: all answers and all paths are shown first, also where one answer is wrong.
    if wrong:
        raise DemoError(f"{len(wrong)} answers made no sense, the first: {wrong[0]}")
    console.print(f"\n[bold green]done[/] in {time.monotonic() - started:.0f} s", highlight=False)


def end_on_signal(number: int, frame: FrameType | None) -> None:
    """Turns a request to end into an exit, so that everything started is stopped on the way out."""
    del frame
    # The status by which shells tell an end by a signal.
    raise SystemExit(128 + number)


def main(arguments: Sequence[str]) -> int:
    """Runs the demo; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # titles may hold what the terminal cannot show
    console = Console()
    if {"-h", "--help"} & set(arguments):
        console.print(__doc__, markup=False, highlight=False, soft_wrap=True)
        return 0
    # By default SIGTERM ends Python without any `finally`, and the service would go on without us.
    signal.signal(signal.SIGTERM, end_on_signal)
    try:
        run_demo(console, read_options(arguments))
    except KeyboardInterrupt:
        console.print("\ninterrupted; nothing is left running", highlight=False)
        return 128 + signal.SIGINT
    except (DemoError, MarqueeError) as error:
        trouble = Console(stderr=True)
        trouble.print("\ndemo failed: ", style="bold red", end="")
        # Paths and ids may hold brackets, which Rich would take for markup.
        trouble.print(str(error), markup=False, highlight=False, soft_wrap=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
