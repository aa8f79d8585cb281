"""The card of a model: facts from its run, words from those who know, and nothing made up.

A section that a reader must find and that is empty stops the card: whoever publishes a model says what it is
for, where its data come from, who answers for it, and how to object.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any  # of JSON

from marquee.errors import ConfigError
from marquee.evaluation.analyses.fairness import GroupGaps
from marquee.evaluation.leaks import Leak
from marquee.reports.evidence.page import Finding, Grid, Page, Section, estimated, interval, listed, number

CARD_FORMAT = 1
CARD = "card"
"""Name of its files, without ending."""


@dataclass(kw_only=True)
class CardWords:
    """The words of a card, by those who know; all but `notes` must be there.

    Attributes:
        purpose: What the model is for, and where it is shown.
        not_for: What it must not be used for.
        data_source: Where the data come from, and over which time.
        consent: On which ground people's data are used.
        erasures: How many people had their data erased since this training, and what follows for the model.
        limits: What it does badly, as far as is known.
        owner: Who answers for it.
        objection: How people object, and what happens then.
        notes: Anything else.
    """

    purpose: str = ""
    not_for: str = ""
    data_source: str = ""
    consent: str = ""
    erasures: str = ""
    limits: str = ""
    owner: str = ""
    objection: str = ""
    notes: str = ""

    @property
    def are_there(self) -> bool:
        """Whether anybody has written anything."""
        return any(getattr(self, entry.name).strip() for entry in fields(self))

    def validate(self) -> None:
        """Raises ConfigError that names every required section that is empty."""
        required = [entry.name for entry in fields(self) if entry.name != "notes"]
        empty = [name for name in required if not getattr(self, name).strip()]
        if empty:
            raise ConfigError(
                f"the card has no words for {', '.join(empty)}: nobody can read them off a run; write them "
                "into configs/card/<name>.yaml, or a folder of your own"
            )


@dataclass(frozen=True)
class CardFacts:
    """The facts of a card, read from the run and from reports.

    Attributes:
        name: Of the data set.
        run: Of the run folder.
        created: When the run was judged.
        objective: Loss, kinds of events and model, as configured, verbatim.
        protocol: Split, fingerprint of the data, checks: fact → value.
        n_events: Rows that were read and kept.
        rejected: Rows that were rejected.
        verdict: Sentence of the report.
        metrics: Model → headline metrics with interval as text.
        headline: The metric that decides.
        slices: Worst slices, one sentence each.
        cautions: Warnings of the report.
        gaps: By protected column.
        leaks: Of the user vectors.
        unaudited: Protected column → why it could not be audited.
        drift: Alarms of the drift report; None if none was given.
        experiments: Experiment → verdicts of its arms.
    """

    name: str
    run: str
    created: str
    objective: str
    protocol: Mapping[str, str]
    n_events: int
    rejected: int
    verdict: str
    metrics: Mapping[str, str]
    headline: str
    slices: Sequence[str]
    cautions: Sequence[str]
    gaps: Sequence[GroupGaps] = ()
    leaks: Sequence[Leak] = ()
    unaudited: Mapping[str, str] = field(default_factory=dict)
    drift: Sequence[str] | None = None
    experiments: Mapping[str, Sequence[str]] = field(default_factory=dict)


def card_page(words: CardWords, facts: CardFacts) -> Page:
    """Returns the card as a page.

    Raises:
        ConfigError: If a required section has no words.
    """
    # Before any fact is set: a card that nobody answers for must not come about.
    words.validate()
    return Page(
        title=f"Card of the model of {facts.name}",
        note=(
            f"Run {facts.run}, judged {facts.created}. Facts are read from the run; the rest is said by its "
            "owner."
        ),
        # In the neutral tone: the card repeats a verdict and makes none.
        findings=(Finding("Results", facts.verdict, "undecided"),),
        sections=(
            Section("Purpose", (words.purpose, f"Not for: {words.not_for}")),
            _data_section(words, facts),
            Section("Objective", ("As configured, verbatim:",), code=facts.objective),
            _results_section(facts),
            _gaps_section(facts),
            _leaks_section(facts),
            _drift_section(facts),
            _experiments_section(facts),
            Section("Limits", (words.limits, *facts.cautions)),
            Section("Owner", (words.owner,)),
            Section("How to object", (words.objection,)),
            *([Section("Notes", (words.notes,))] if words.notes.strip() else []),
        ),
        facts=card_facts(words, facts),
    )


def card_facts(words: CardWords, facts: CardFacts) -> dict[str, Any]:
    """Returns everything, ready for JSON."""
    return {"card_format": CARD_FORMAT, "words": asdict(words), "facts": asdict(facts)}


def _data_section(words: CardWords, facts: CardFacts) -> Section:
    """Returns where the data come from, and what became of them."""
    texts = (
        words.data_source,
        f"{facts.n_events:,} events were kept, {facts.rejected:,} rejected.",
        f"Consent: {words.consent}",
        f"Erasures since this training: {words.erasures}",
    )
    rows = tuple(facts.protocol.items())
    return Section("Data", texts, (Grid("Protocol", ("what", "is"), rows),))


def _results_section(facts: CardFacts) -> Section:
    """Returns the metrics beside those of the baselines, and the worst slices."""
    grid = Grid(f"{facts.headline}, 95 % interval", ("model", facts.headline), tuple(facts.metrics.items()))
    return Section("Results", tuple(facts.slices) or ("No slice was large enough.",), (grid,))


def _gaps_section(facts: CardFacts) -> Section:
    """Returns the gaps between groups of people."""
    if not facts.gaps:
        return Section("Gaps between groups", ("No protected column was declared for this card.",))
    texts, grids = [], []
    for gaps in facts.gaps:
        if gaps.small:
            small = ", ".join(f"{name} ({n})" for name, n in gaps.small.items())
            # By name and size: a group that is missing must not look as if nobody belonged to it.
            texts.append(f"{gaps.attribute}: too small to show: {small}.")
        texts += [f"{reason}." for reason in gaps.reasons]
        if gaps.largest is not None:
            largest = gaps.largest
            texts.append(
                f"{gaps.attribute}: the largest gap is {largest.higher} over {largest.lower}, "
                f"{number(largest.difference.mean)} "
                f"({interval(largest.difference.low, largest.difference.high)}, widened for all pairs): "
                f"{largest.finding}."
            )
        rows = tuple((group.name, f"{group.n:,}", estimated(group.estimate)) for group in gaps.groups)
        if rows:
            grids.append(Grid(f"{gaps.metric} by {gaps.attribute}", ("group", "users", gaps.metric), rows))
    return Section("Gaps between groups", tuple(texts), tuple(grids))


def _leaks_section(facts: CardFacts) -> Section:
    """Returns how well protected columns can be read off user vectors."""
    # First what is not known: a table of AUCs would look complete.
    texts = [f"{name} was not audited: {reason}." for name, reason in facts.unaudited.items()]
    if not facts.leaks:
        return Section("What vectors tell", (*texts, "No leak audit was made."))
    texts.append(
        "AUC of a plain classifier on users it was not fitted on; 0.5 tells nothing, 1 everything. A column "
        "that is a feature of the model is told by design."
    )
    rows = tuple(
        (f"{leak.attribute} = {leak.value}", f"{leak.n_members:,} of {leak.n:,}", estimated(leak.auc))
        for leak in facts.leaks
    )
    return Section("What vectors tell", tuple(texts), (Grid("Leak audit", ("what", "users", "AUC"), rows),))


def _drift_section(facts: CardFacts) -> Section:
    """Returns the alarms since training."""
    if facts.drift is None:
        # Not looked at is not the same as quiet.
        return Section("Drift", ("No drift report was given.",))
    return Section("Drift", tuple(facts.drift) or ("The report that was given has no alarm.",))


def _experiments_section(facts: CardFacts) -> Section:
    """Returns the verdicts of experiments."""
    if not facts.experiments:
        return Section("Experiments", ("No experiment was given.",))
    return Section(
        "Experiments", tuple(f"{name}: {listed(list(said))}" for name, said in facts.experiments.items())
    )
