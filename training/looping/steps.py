"""The steps of a loop behind its table: train, judge beside what is served, export, publish."""

import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from rich.console import Console

from marquee.bundle.bundle import Bundle
from marquee.bundle.manifest import MANIFEST
from marquee.bundle.popularity import PopularityConfig
from marquee.bundle.publishing import publish
from marquee.bundle.releases import CURRENT, activate, resolve
from marquee.core.moments import moment_text
from marquee.data.loop.counting import count_shown
from marquee.data.reading.tables import Tables
from marquee.data.split_config import SplitMethod
from marquee.data.splits import split_events
from marquee.data.table_config import TableConfig
from marquee.decision.golden_requests import validate_golden_requests
from marquee.decision.recommender import Recommender
from marquee.errors import DataError, OtherShapeError
from marquee.index.faiss_index import IndexConfig
from marquee.nn.initialisation.tables import SpectralInitialisationConfig
from marquee.reports.evidence.card import CARD, CardWords, card_page
from marquee.reports.evidence.page import write_page
from marquee.store.files import announce_step
from marquee.store.signing import SigningKey
from training.config import TrainConfig
from training.distributed.config import ClusterConfig
from training.exporting.card_facts import read_facts
from training.exporting.contents import bundle_contents, said_of_card
from training.exporting.index_shards import index_builder, remove_parts
from training.fitting.fit import fit, load_model
from training.fitting.probabilities.run import fit_head_of_run, read_head_of_run
from training.fitting.warm_start import WarmStartConfig
from training.judging.gate import GateConfig, failures
from training.judging.judge import BUNDLE, Judgement, judge, part_to_judge, show_judgement
from training.judging.writing import report
from training.looping.journal import Journal, Loop, Outcome, sweep
from training.runs.folders import RunFolder
from training.runs.prepare import Prepared, part, read

TABLE = "events/*.parquet"
"""The files of a training table that are read."""

MIN_USERS = 2
"""A paired comparison needs so many; whether they are enough is for the gate to say."""

# 32 bits part the bundles of one cutoff, of which there are few.
_DIGITS = 8


class Settings(Protocol):
    """Those settings of a loop that its steps need."""

    beside: bool
    bundles: str
    signing_key: str
    index: IndexConfig
    gate: GateConfig
    card: CardWords

    @property
    def home(self) -> Path:
        """Where the journal is kept."""


@dataclass
class Steps:
    """A loop under way.

    Attributes:
        settings: Of the loop.
        config: Of the training.
        table: Folder of the training table.
        console: Shows each step.
        read_at: When the tables were read, seconds since 1970; 0 before that.
    """

    settings: Settings
    config: TrainConfig
    table: Path
    console: Console
    read_at: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.journal = Journal.read(self.settings.home)
        self.folder = RunFolder(Path(self.config.runs) / self.config.data.name / f"loop-{self.loop.cutoff}")
        self.channel = Path(self.settings.bundles) / self.config.data.name

    @property
    def loop(self) -> Loop:
        """The loop as far as it has come."""
        assert self.journal.current is not None, "the journal must hold the loop under way"
        return self.journal.current

    def run(self) -> Outcome | None:
        """Goes on with the loop and returns its outcome; None if a person interrupted the training."""
        # Once per loop: the parts of the split must stay, whatever is published meanwhile.
        if self.loop.since is None:
            self._mark("begun", since=self._known_to_served())
        # A verdict beside an older release says nothing of the one that it would replace now.
        if self.loop.reasons is None or self._is_judged_beside_another:
            if not self._train():
                return None
            self._judge()
        if self.loop.reasons:
            return self._end(Outcome.refused)
        bundle = self._export()
        self._publish(bundle)
        return self._end(Outcome.published)

    @property
    def served(self) -> str:
        """Version of the release that is served; empty if there is none."""
        return resolve(self.channel).name if (self.channel / CURRENT).exists() else ""

    @property
    def _is_judged_beside_another(self) -> bool:
        """Whether another release than the one that was judged beside is served by now."""
        # Its own bundle is served where the loop was killed after publishing it.
        return self.served not in (self.loop.against, self.loop.bundle)

    def _train(self) -> bool:
        """Trains, or goes on with it; returns False if a person interrupted it."""
        # Hours of training are not begun where the judgement could not follow; `_judge` says why.
        if self.loop.is_trained or self._why_not_to_train():
            return True
        self.console.print("step 2 of 5: training")
        config = self._started()
        self.folder.path.mkdir(parents=True, exist_ok=True)
        self.folder.write_config(config)
        try:
            # Goes on by itself from the last checkpoint in the folder.
            fitted = fit(self.prepared.dataset, self.prepared.validation, config, self.folder.path)
        except OtherShapeError as error:
            self.console.print(f"a fresh start, for the last release has another shape: {error}")
            # Settings of the model may change between two loops: that must not end them.
            config = replace(config, start=SpectralInitialisationConfig())
            self.folder.write_config(config)
            fitted = fit(self.prepared.dataset, self.prepared.validation, config, self.folder.path)
        if fitted.interrupted:
            return False
        prepared = self.prepared
        head = fit_head_of_run(prepared.dataset, prepared.split, fitted.model, config, self.folder.path)
        if isinstance(head, str) and head:
            self.console.print(f"no probabilities of clicks: {head}")
        self._mark("trained", is_trained=True)
        return True

    def _judge(self) -> None:
        """Judges the model beside what is served, or says why it cannot be judged."""
        against = self.served
        reasons = self._why_not_to_train()
        if not reasons:
            beside = f"beside {against}" if against else "alone, for nothing is served yet"
            self.console.print(f"step 3 of 5: judging {beside}")
            try:
                reasons = self._failures(Bundle.load(self.channel / against) if against else None)
            except DataError as error:
                # A refusal and no fault: the next loop has more events.
                reasons = [f"the model cannot be judged: {error}"]
        self._mark("judged", reasons=tuple(reasons), against=against)

    def _why_not_to_train(self) -> list[str]:
        """Returns why the events do not allow to train or to judge; nothing if they do."""
        try:
            _, judged = part_to_judge(self.prepared, self.run_config)
        except DataError as error:
            return [f"the log does not hold enough to judge a model by: {error}"]
        if len(judged.user_ids) < MIN_USERS:
            return [
                "the log does not hold enough to judge a model by: "
                f"{len(judged.user_ids)} user did something that the served release cannot know, expected "
                f"{MIN_USERS} or more"
            ]
        return []

    def _failures(self, bundle: Bundle | None) -> list[str]:
        """Returns which guardrails the model does not hold."""
        config, gate = self.run_config, self.settings.gate
        model = load_model(self.prepared.dataset, config, self.folder.checkpoint)
        prepared = self.prepared
        head = read_head_of_run(prepared.dataset, prepared.split, model, config, self.folder.path)
        judgement = judge(prepared, model, config, self.console, bundle, head)
        self.console.print(f"report {report(self.prepared, judgement, config, self.folder)}")
        show_judgement(judgement, config, self.console)
        if bundle is None:
            # Nothing is served: what compares with it holds, and all other guardrails stand.
            rails = {name: rail for name, rail in gate.guardrails.items() if rail.against != BUNDLE}
            gate = GateConfig(guardrails=rails)
        else:
            self._say_difference(judgement, bundle.version)
        return list(failures(gate, judgement))

    def _say_difference(self, judgement: Judgement, version: str) -> None:
        """Prints how the model compares with what is served."""
        metric = f"ndcg@{self.config.evaluation.headline_k}"
        difference = judgement.evaluation.differences[BUNDLE][metric]
        self.console.print(
            f"{metric} minus that of {version}, which is served, on the same events: {difference.mean:+.4f}, "
            f"95\u00a0% interval {difference.low:+.4f} to {difference.high:+.4f}"
        )

    def _export(self) -> Path:
        """Writes the bundle, if that was not done before, and returns its folder."""
        version = self._version()
        path = self.channel / version
        if not (path / MANIFEST).exists():
            self.console.print("step 4 of 5: exporting and proving parity")
            if self.settings.card.are_there:
                facts = read_facts(self.folder, [], "", [], self.console)
                write_page(card_page(self.settings.card, facts), self.folder.path, CARD)
            key = self.settings.signing_key
            prepared = self.prepared
            # Not now: a price changed while the model trained is newer than the one in the tables.
            created = self.read_at
            contents = bundle_contents(
                prepared,
                self.run_config,
                self.folder,
                created,
                self.settings.index,
                PopularityConfig(),
                index_builder(self.settings.index, self.folder.path, ClusterConfig(), self.console),
            )
            self.console.print(said_of_card(contents.card, self.folder), highlight=False)
            path = publish(
                replace(contents, click_counts=count_shown(self.table)),
                self.channel.parent,
                self.channel.name,
                created=created,
                version=version,
                signing_key=SigningKey.read(key) if key else None,
                # The golden requests are asked of the bundle as it lies on disk, before it is current.
                is_activated=False,
            )
            remove_parts(self.folder.path)
        self._mark("exported", bundle=version)
        return path

    def _version(self) -> str:
        """Returns the version of the bundle: the same however often the loop is begun again."""
        checksum = sha256(self.folder.checkpoint.read_bytes()).hexdigest()[:_DIGITS]
        moment = moment_text(self.loop.cutoff).replace("-", "").replace(":", "").replace(" ", "T")
        return f"{moment}Z-{checksum}"

    def _publish(self, bundle: Path) -> None:
        """Asks the bundle its golden requests and makes it current."""
        self.console.print("step 5 of 5: publishing")
        validate_golden_requests(Recommender.load(bundle))
        activate(bundle)
        self.console.print(f"bundle {bundle} is current")

    def _end(self, outcome: Outcome) -> Outcome:
        """Notes how the loop ended and removes what only it needed."""
        for reason in self.loop.reasons or ():
            self.console.print(f"refused: {reason}")
        cutoff = self.loop.cutoff
        self.journal = self.journal.ended(outcome, self.folder.path)
        announce_step(f"note {outcome}")
        self.journal.write(self.settings.home)
        # After the journal: a loop that is killed in between finds its table, or needs none.
        sweep(self.settings.home, cutoff)
        return outcome

    def _mark(self, step: str, **changes: object) -> None:
        """Notes the result of a step."""
        self.journal = replace(self.journal, current=replace(self.loop, **changes))  # type: ignore[arg-type]  # fields
        announce_step(f"note {step}")
        self.journal.write(self.settings.home)

    @cached_property
    def prepared(self) -> Prepared:
        """The data of the loop."""
        return part(self._tables, self.run_config, self.console)

    @cached_property
    def _tables(self) -> Tables:
        """The tables, read once."""
        self.folder.path.mkdir(parents=True, exist_ok=True)
        self.read_at = int(time.time())
        return read(self._with_table, self.folder.path, self.console)

    @property
    def _with_table(self) -> TrainConfig:
        """The config of the training on the table of the loop."""
        data = self.config.data
        if not self.settings.beside:
            return replace(self.config, data=replace(data, root=str(self.table.absolute())))
        table = TableConfig(path=str(self.table.absolute() / TABLE))
        return replace(self.config, data=replace(data, more_events={**data.more_events, "log": table}))

    @cached_property
    def run_config(self) -> TrainConfig:
        """The config of the run: what is judged comes after all that the served release learned from."""
        config = self._with_table
        since, split = self.loop.since, config.data.split
        # Other splits have no moment that could be moved.
        if split.method is not SplitMethod.time or not since:
            return config
        cutoffs = split_events(self._tables.events, split, config.data.time).cutoffs
        # The split asked for begins late enough by itself.
        if cutoffs is None or cutoffs.test >= since:
            return config
        # Where the served release has seen what is judged, its successor would be refused for that alone.
        later = replace(split, test_from=str(since), validation_from="")
        return replace(config, data=replace(config.data, split=later))

    def _known_to_served(self) -> int:
        """Returns the first second that the served release cannot know; 0 if nothing is served."""
        version, release = self.served, self.journal.release
        if not version:
            return 0
        # The loop knows the cutoff of its own releases, by which their tables ended.
        if release is not None and release.version == version:
            return release.cutoff
        manifest = Bundle.load(self.channel / version).manifest
        return manifest.known_until.timestamp + 1 if manifest.known_until.timestamp else manifest.created

    def _started(self) -> TrainConfig:
        """Returns the config of the run with the start that there is: the last release, or a fresh one."""
        config = self.run_config
        if not isinstance(config.start, WarmStartConfig):
            return config
        # The last one published, not the last one trained: a refused model is no start.
        run = self.journal.release.run if self.journal.release else config.start.run
        if run:
            return replace(config, start=replace(config.start, run=run))
        self.console.print("a fresh start, for no loop has published yet and start.run names no run")
        return replace(config, start=SpectralInitialisationConfig())
