"""The page of a candidate's value by a log: first whether the log can speak at all."""

from dataclasses import asdict
from typing import Any  # of JSON

from marquee.evaluation.off_policy.estimators import Estimator
from marquee.evaluation.off_policy.table import EstimatedCandidate
from marquee.evaluation.off_policy.weights import MAX_UNSUPPORTED, MIN_EFFECTIVE
from marquee.reports.evidence.page import Finding, Grid, Page, Section, estimated, number, share

OFF_POLICY_FORMAT = 1


def off_policy_page(found: EstimatedCandidate, name: str) -> Page:
    """Returns the page of a candidate; no estimate stands on it where the log cannot speak.

    Args:
        found: The estimates.
        name: Of the table, for people.
    """
    support = found.value.support
    rows = (
        ("effective decisions", number(support.effective), f"{MIN_EFFECTIVE:.0f} or more"),
        ("largest weight", number(support.largest), ""),
        ("choices without support", share(support.unsupported), f"{MAX_UNSUPPORTED:.0%} or less"),
        ("taken away by clipping", share(support.clipped), ""),
    )
    sections = [Section("Support", (), (Grid("How far the log speaks", ("what", "is", "needs"), rows),))]
    if support.is_identifiable:
        sections.append(_values_section(found))
    return Page(
        title="Value of a candidate",
        note=(
            f"{name}: {support.n_decisions:,} decisions, {found.n_users:,} users, "
            f"{found.n_actions:,} actions."
        ),
        findings=(_finding(found),),
        sections=tuple(sections),
        facts=off_policy_facts(found),
        warnings=found.notes,
    )


def off_policy_facts(found: EstimatedCandidate) -> dict[str, Any]:
    """Returns everything as numbers; values are left out where the log cannot speak."""
    support = found.value.support
    estimates = {str(name): asdict(value) for name, value in found.value.estimates.items()}
    return {
        "off_policy_format": OFF_POLICY_FORMAT,
        "verdict": "identifiable" if support.is_identifiable else "not identifiable",
        "reason": support.reason,
        "support": asdict(support),
        "logged": asdict(found.value.logged),
        # A number in the file would be used, whatever verdict stands beside it.
        "estimates": estimates if support.is_identifiable else None,
        "n_users": found.n_users,
        "n_actions": found.n_actions,
        "notes": list(found.notes),
    }


def _finding(found: EstimatedCandidate) -> Finding:
    """Returns the verdict, by the doubly robust estimate where there is one."""
    support, estimates = found.value.support, found.value.estimates
    if not support.is_identifiable:
        return Finding("Not identifiable", f"{support.reason}.", "undecided")
    # Never the direct estimate: it is as wrong as its model.
    name = Estimator.doubly_robust if Estimator.doubly_robust in estimates else Estimator.self_normalised
    best, logged = estimates[name], found.value.logged
    tone = "better" if best.low > logged.mean else "worse" if best.high < logged.mean else "undecided"
    words = {"better": "Earns more", "worse": "Earns less", "undecided": "Cannot tell"}
    return Finding(
        words[tone],
        f"the candidate would have earned {estimated(best)} per decision, the log earned "
        f"{estimated(logged)}.",
        tone,
    )


def _values_section(found: EstimatedCandidate) -> Section:
    """Returns all estimates beside what was logged."""
    words = {
        Estimator.direct: "direct (as wrong as its model)",
        Estimator.inverse_propensity: "inverse propensity",
        Estimator.self_normalised: "self-normalised",
        Estimator.doubly_robust: "doubly robust",
    }
    rows = tuple((words[name], estimated(value)) for name, value in found.value.estimates.items())
    logged = ("the log itself", estimated(found.value.logged))
    return Section(
        "Values", (), (Grid("Reward per decision, 95 % over users", ("by", "value"), (*rows, logged)),)
    )
