"""One schedule for all sizes: facts of the data become settings, each with its reason.

The whole rule stands in `rule`. It fills in what a config leaves open (`training.cli.open_knobs`); what
somebody has set stays. Does not train, and reads neither validation nor test.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from marquee.core.schema import TimeMeaning
from marquee.data.dataset import Dataset
from marquee.data.order import Order
from marquee.data.split_config import SplitConfig
from marquee.nn.history_pooling import HistoryPooling
from marquee.nn.negatives import CatalogNegativesConfig, MixedNegativesConfig
from training.config import TrainConfig

# Up to so many items the exact softmax costs less than drawing candidates saves.
SMALL_CATALOG = 8_000
NEGATIVES = "negatives"
BIAS_SCALE = "model.bias_scale"
LINEAR_RANK, LINEAR_WEIGHT = "model.linear_rank", "model.linear_weight"
HISTORY_LENGTH = "data.history_length"
CHEAP_PAIRS = 30_000_000
# Numbers of the linear part that serving reads for an answer, and its longest and shortest vectors.
CHEAP_LINEAR, LONGEST_LINEAR, SHORTEST_LINEAR = 3_000_000, 1024, 384
MANY_USERS = 8_000
MANY_EVENTS = 100_000
MOST_RANKED = 8_000
LONGEST_HISTORY, SHORTEST_HISTORY = 200, 50


@dataclass(frozen=True)
class Facts:
    """All that the rule looks at, of the training part.

    Attributes:
        n_users: Users.
        n_items: Items of the catalog.
        n_events: Events that count.
        time: What timestamps say.
        has_order: Whether places say which of a user's events came first.
        asks_end: Whether validation and test are the ends of lists, and no random draw from them.
    """

    n_users: int
    n_items: int
    n_events: int
    time: TimeMeaning
    has_order: bool
    asks_end: bool = False

    @classmethod
    def of(cls, dataset: Dataset, split: SplitConfig) -> "Facts":
        """Returns the facts of a data set that is parted so."""
        return cls(
            n_users=dataset.n_users,
            n_items=dataset.n_items,
            n_events=len(dataset.train.item_index),
            time=dataset.time,
            has_order=dataset.has_order,
            asks_end=dataset.has_order and split.needs_order,
        )

    @property
    def events_per_user(self) -> float:
        """Events of a user, on average."""
        return self.n_events / max(self.n_users, 1)

    @property
    def line(self) -> str:
        """The facts, in words."""
        known = {
            TimeMeaning.none: "no time",
            TimeMeaning.order: "times that order",
            TimeMeaning.absolute: "times",
        }
        order = "" if self.has_order else ", no order"
        return (
            f"{self.n_users:,} users with {self.events_per_user:.3g} of {self.n_events:,} events each, "
            f"{self.n_items:,} items, {known[self.time]}{order}"
        )


@dataclass(frozen=True)
class Setting:
    """A knob that the rule sets.

    Attributes:
        key: Dotted name in the config.
        value: Of the knob.
        because: The reason, in words that follow "because".
    """

    key: str
    value: Any  # Any: of whatever type the knob has
    because: str


@dataclass(frozen=True)
class Settled:
    """A config without open knobs, and what was said about them.

    Attributes:
        config: To train by.
        lines: What the rule set and why, one line per reason.
    """

    config: TrainConfig
    lines: tuple[str, ...]


def rule(facts: Facts) -> Iterator[Setting]:
    """Yields what the facts ask for; what is not named keeps the value that the menu shows.

    Args:
        facts: Of the training part.
    """
    if facts.time is not TimeMeaning.none:
        return
    yield from _without_time()
    yield from _size(facts)
    if facts.asks_end:
        latest = "lists are in the order of events, and validation is their ends"
        yield Setting("examples.target_decay", 2.0, latest)


def _without_time() -> Iterator[Setting]:
    """Yields what holds for lists without time, of whatever size."""
    no_place = "lists have no times: no place is read; another half foretells the whole in each pass"
    yield Setting("model.history_pooling", HistoryPooling.mean, no_place)
    yield Setting("model.history_dropout", 0.5, no_place)
    yield Setting("examples.hidden_fraction", 0.0, no_place)
    asked = "those who are asked have trained: their vectors may say what their lists leave out"
    yield Setting("model.user_id_dropout", 0.0, asked)
    yield Setting("model.user_scale", 0.1, asked)
    company = "what users have together says most: each item begins amid its 20 nearest"
    yield Setting("model.item_neighbours", 20, company)
    yield Setting("model.neighbour_weight", 1.5, company)
    yield Setting("start.scale", 0.0, company)


def _size(facts: Facts) -> Iterator[Setting]:
    """Yields what follows from how many users and items there are."""
    is_small = facts.n_items <= SMALL_CATALOG
    if is_small:
        few = f"{facts.n_items:,} items are few enough for the exact softmax"
        yield Setting("negatives.in_batch", False, few)
        yield Setting(NEGATIVES, CatalogNegativesConfig(), few)
    else:
        many = f"{facts.n_items:,} items are many: candidates are drawn, the same for all of a batch"
        yield Setting("negatives.n_uniform", 4000, many)
        yield Setting("negatives.in_batch", False, many)
    pairs = facts.n_users * facts.n_items
    if is_small:
        rank = min(max(CHEAP_LINEAR // max(facts.n_items, 1), SHORTEST_LINEAR), LONGEST_LINEAR, facts.n_items)
        solved = f"{facts.n_items:,} items are few enough to solve for the weights of all pairs of them"
        yield Setting(LINEAR_RANK, rank, solved)
    if is_small and pairs <= CHEAP_PAIRS:
        yield Setting("model.dim", 256, f"a pass scores {pairs:,} pairs, which long vectors make no slower")
    else:
        dear = f"a pass would score {pairs:,} pairs, which longer vectors make slow"
        yield Setting("model.dim", 128, dear)
        yield Setting("optimizer.learning_rate", 0.007, dear)
    sharp = facts.n_events > MANY_EVENTS
    told = f"{facts.n_events:,} events tell items apart {'finely' if sharp else 'coarsely'}"
    yield Setting("loss.temperature", 0.12 if sharp else 0.2, told)
    steps = f"{facts.n_users:,} users are asked once in each pass"
    yield Setting("examples.batch_size", 256 if facts.n_users <= MANY_USERS else 512, steps)
    yield Setting("trainer.epochs", 30, steps)
    yield Setting("trainer.validate_every", 3, steps)
    yield Setting("trainer.patience", 4, steps)
    if facts.n_users > MOST_RANKED:
        yield Setting("trainer.validation_users", MOST_RANKED, f"{MOST_RANKED:,} of them tell passes apart")


def history_length(sizes: Sequence[int]) -> int:
    """Returns the length at which hardly any list is cut, within bounds that serving can bear.

    Args:
        sizes: Events of each user.

    Example:
        >>> history_length([10] * 99 + [80]), history_length([120] * 100), history_length([900] * 100)
        (50, 120, 200)
    """
    wanted = int(np.quantile(sizes, 0.98)) if len(sizes) else SHORTEST_HISTORY
    return min(max(wanted, SHORTEST_HISTORY), LONGEST_HISTORY)


def settle(config: TrainConfig, dataset: Dataset) -> Settled:
    """Returns the config with every open knob set by the rule, and what nobody may read left out.

    Args:
        config: As composed.
        dataset: Its training part.
    """
    facts = Facts.of(dataset, config.data.split)
    settled = copy.deepcopy(config)
    chosen = [setting for setting in rule(facts) if _is_open(setting, config)]
    if any(setting.key == NEGATIVES for setting in chosen):
        # The whole catalog has no knobs of its own.
        chosen = [setting for setting in chosen if not setting.key.startswith(f"{NEGATIVES}.")]
    for setting in chosen:
        _set(settled, setting)
    lines = [f"rule: {facts.line}", *_by_reason(chosen)] if chosen else []
    if settled.examples.target_decay and not facts.has_order:
        lines.append("  examples.target_decay is left out because lists have no order")
        settled.examples.target_decay = 0.0
    # How much popularity and the linear part say is found once the model is trained: see
    # `training.fitting.probing` and `training.fitting.linear_part`.
    is_found_later = facts.time is TimeMeaning.none and config.model.towers().item_bias
    later = [BIAS_SCALE] if is_found_later else []
    later += [LINEAR_WEIGHT] if settled.model.towers().linear_rank else []
    settled.left_open = [name for name in later if name in config.left_open]
    _keep_data(settled, dataset)
    settled.validate()
    return Settled(settled, tuple(lines))


def _keep_data(config: TrainConfig, dataset: Dataset) -> None:
    """Writes what was found of the data into a config, so that later commands need not find it again."""
    config.data.history_length = dataset.history_length
    if dataset.time is TimeMeaning.none:
        config.data.order = Order.events if dataset.has_order else Order.none
        # The ends of lists that have no order validate nothing.
        config.data.split.validate_end &= dataset.has_order


def _is_open(setting: Setting, config: TrainConfig) -> bool:
    """Returns whether a config leaves it to the rule; a choice of negatives, where its knobs are open."""
    if setting.key == NEGATIVES:
        of_choice = {"negatives.n_uniform", "negatives.in_batch"} <= set(config.left_open)
        as_composed = config.negatives == MixedNegativesConfig()
        return of_choice and as_composed and not config.loss.compares_pairs
    return setting.key in config.left_open


def _set(config: TrainConfig, setting: Setting) -> None:
    """Sets one knob of a config, in place."""
    *parents, name = setting.key.split(".")
    part: Any = config  # Any: a dataclass per level
    for parent in parents:
        part = getattr(part, parent)
    setattr(part, name, setting.value)


def _by_reason(chosen: Sequence[Setting]) -> Iterator[str]:
    """Yields a line per reason, with all settings that it explains."""
    reasons = dict.fromkeys(setting.because for setting in chosen)
    for because in reasons:
        said = " ".join(_words(setting) for setting in chosen if setting.because == because)
        yield f"  {said} because {because}"


def _words(setting: Setting) -> str:
    """Returns a setting as a command line has it."""
    if isinstance(setting.value, CatalogNegativesConfig):
        return "negatives=catalog"
    value = setting.value
    return f"{setting.key}={str(value).lower() if isinstance(value, bool) else value}"
