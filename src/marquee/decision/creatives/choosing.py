"""Chooses the creative of an item among those that may be shown, and says how probable the choice was.

The bandit is that of the places (see `policies.choosing`): greedy takes the first that may be shown, in the
order of their declaration; Thompson sampling draws by what came of each creative before. All that is random
follows from the decision's id and the item's, so that a decision can be replayed.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from marquee.decision.creatives.templates import Creative
from marquee.decision.policies.choosing import build_chooser
from marquee.decision.policies.config import NO_EXPLORATION, Exploration
from marquee.decision.policies.thompson import ClickCounts
from marquee.errors import ConfigError

MAX_CREATIVES = 50


@dataclass(frozen=True, slots=True)
class ChosenCreative:
    """How one item is said.

    Attributes:
        name: Of the creative.
        text: As it is shown, escaped for HTML.
        propensity: Probability with which it was chosen among those that may be shown, in (0, 1].
    """

    name: str
    text: str
    propensity: float


@dataclass(frozen=True, slots=True)
class CreativeCounts:
    """Exposures and clicks of creatives so far.

    Attributes:
        shown: Name → exposures.
        clicked: Name → exposures that were clicked.
    """

    shown: Mapping[str, float] = field(default_factory=dict)
    clicked: Mapping[str, float] = field(default_factory=dict)


NO_COUNTS = CreativeCounts()


@dataclass(frozen=True)
class CreativeSet:
    """The creatives of a surface.

    Attributes:
        creatives: In the order in which greedy choice prefers them; of different names.
        exploration: How one is chosen.

    Raises:
        ConfigError: If there is none or too many, or two have one name.
    """

    creatives: tuple[Creative, ...]
    exploration: Exploration = NO_EXPLORATION

    def __post_init__(self) -> None:
        names = [creative.name for creative in self.creatives]
        if not 1 <= len(names) <= MAX_CREATIVES or len(set(names)) < len(names):
            raise ConfigError(
                f"a surface needs 1 to {MAX_CREATIVES} creatives of different names, got {names}; name each "
                "once"
            )

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of items that any of them needs, each once."""
        return tuple(dict.fromkeys(name for creative in self.creatives for name in creative.fields))

    @cached_property
    def greedy(self) -> "CreativeSet":
        """The same without draws, for answers that are not on record."""
        return CreativeSet(self.creatives)

    def choose(
        self,
        fields: Mapping[str, object],
        decision_id: str,
        item_id: str,
        counts: CreativeCounts = NO_COUNTS,
        unshown: Counter[str] | None = None,
    ) -> ChosenCreative | None:
        """Returns how an item is said; None where no creative may be shown.

        Args:
            fields: Attributes of the item.
            decision_id: Of the answer in which it stands.
            item_id: The item.
            counts: What came of the creatives before.
            unshown: Counts creatives that may not be shown, by name and reason.
        """
        rendered = [creative.render(fields) for creative in self.creatives]
        if unshown is not None:
            unshown.update(
                f"{creative.name}: {one.reason}"
                for creative, one in zip(self.creatives, rendered, strict=True)
                if not one.is_shown
            )
        # The item's id keeps two items of one answer from drawing the same numbers; a length before it keeps
        # ("a", "bc") apart from ("ab", "c").
        drawn_by = f"creative:{len(decision_id)}:{decision_id}:{item_id}"
        chooser = build_chooser(self.exploration, drawn_by, self._click_counts(counts))
        choice = chooser.choose(np.zeros(len(rendered)), np.array([one.is_shown for one in rendered]))
        if choice is None:
            return None
        return ChosenCreative(
            self.creatives[choice.position].name, rendered[choice.position].text, choice.propensity
        )

    def _click_counts(self, counts: CreativeCounts) -> ClickCounts:
        """Returns the counts in the order of the creatives."""
        shown = np.array([counts.shown.get(one.name, 0.0) for one in self.creatives], dtype=np.float64)
        clicked = np.array([counts.clicked.get(one.name, 0.0) for one in self.creatives], dtype=np.float64)
        # A click whose exposure is not confirmed yet must not make a rate above 1.
        return ClickCounts(np.minimum(clicked, shown), shown)


def read_creatives(
    declared: Sequence[Mapping[str, object]], exploration: Exploration = NO_EXPLORATION
) -> CreativeSet:
    """Returns the creatives that a file declares.

    Args:
        declared: A mapping of `name`, `template` and perhaps `max_length` each.
        exploration: How one is chosen.

    Raises:
        ConfigError: If a key is unknown or a value is of the wrong type; the message names the creative.
    """
    known = {"name": str, "template": str, "max_length": int}
    creatives = []
    for place, one in enumerate(declared):
        for key, value in one.items():
            if key not in known or not isinstance(value, known[key]) or isinstance(value, bool):
                raise ConfigError(
                    f"creatives[{place}].{key} must be one of name, template (texts) and max_length (a whole "
                    "number), "
                    f"got {value!r}; correct it"
                )
        if not {"name", "template"} <= one.keys():
            raise ConfigError(
                f"creatives[{place}] needs name and template, got {sorted(one)}; add what is missing"
            )
        creatives.append(Creative(**one))  # type: ignore[arg-type]  # each was looked at above
    return CreativeSet(tuple(creatives), exploration)
