"""The page of customers: verdicts first, then audiences, every trait, and the quality of the data."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any  # of JSON

from marquee.core.moments import day_text
from marquee.marketing.audiences.changes import ADDED, REMOVED
from marquee.marketing.audiences.members import CONTACT
from marquee.marketing.cells import MIN_CELL, suppressed
from marquee.marketing.reading.customers import USER_ID, Customers
from marquee.marketing.running import CustomersResult
from marquee.reports.customers.audience_groups import audience_groups
from marquee.reports.customers.parts import SUPPRESSED, Part, count_text
from marquee.reports.customers.registry import VIEWS
from marquee.reports.evidence.page import Finding, Grid, Page, Section, number

CUSTOMERS_FORMAT = 1
_AUDIENCE_COLUMNS = (
    "audience",
    "members",
    "spoken to",
    "held back",
    "added",
    "removed",
    "expected of the order",
    "purpose",
)


def customers_page(name: str, result: CustomersResult) -> Page:
    """Returns the page of a run.

    Args:
        name: Of the config.
        result: All that came of it.
    """
    parts = {trait.name: VIEWS[trait.type](trait) for trait in result.traits}
    customers = result.customers
    until = f", as of {day_text(int(customers.as_of))}" if customers.as_of is not None else ""
    findings = [part.finding for part in parts.values()]
    refused = [audience.refused for audience in result.audiences if audience.refused]
    findings += [Finding("audience not written", f"{words}.", "worse") for words in refused]
    sections = [_audiences_section(result), *audience_groups(result)] if result.audiences else []
    for part in parts.values():
        sections += part.sections
    return Page(
        title=f"Customers: {name}",
        note=f"{customers.rows.height:,} customers{until}; version {result.version}.",
        findings=tuple(findings),
        sections=(*sections, _data_section(customers)),
        facts=_facts(name, result, parts),
        warnings=tuple(f"{trait.name}: {caution}" for trait in result.traits for caution in trait.cautions),
    )


def _audiences_section(result: CustomersResult) -> Section:
    """Returns every audience with what changed."""
    rows = []
    for audience in result.audiences:
        changes = result.changes.get(audience.name, [])
        n_contact = audience.members.filter(audience.members["group"] == CONTACT).height
        counts = (n_contact, audience.members.height - n_contact)
        # Members less those spoken to would tell a small number held back.
        parts = [
            SUPPRESSED if hidden and n >= MIN_CELL else count_text(n)
            for n, hidden in zip(counts, suppressed(counts), strict=True)
        ]
        rows.append(
            (
                audience.name,
                count_text(audience.members.height),
                *parts,
                count_text(sum(change.change == ADDED for change in changes)),
                count_text(sum(change.change == REMOVED for change in changes)),
                number(audience.expected),
                audience.purpose.value if not audience.refused else "not written",
            )
        )
    since = f"since the run {result.previous.run}" if result.previous.run else "there was no run before"
    texts = (f"Added and removed: {since}.", *_likeness(result))
    return Section("Audiences", texts, (Grid("Audiences", _AUDIENCE_COLUMNS, tuple(rows)),))


def _likeness(result: CustomersResult) -> list[str]:
    """Returns a sentence per audience of seeds: how well seeds are found again, beside activity."""
    said = []
    for audience in result.audiences:
        found = audience.lookalike
        if found is None:
            continue
        words = f"{audience.name}: seeds are found again with AUC {found.auc:.3f}"
        if found.auc_activity == found.auc_activity:  # no NaN: something says how active customers are
            words += (
                f", by activity alone {found.auc_activity:.3f}; among the equally active "
                f"{found.auc_within:.3f} and {found.auc_activity_within:.3f}"
            )
        said.append(words + ".")
    return said


def _data_section(customers: Customers) -> Section:
    """Returns the columns with their kinds, and the oddities of the tables."""
    rows = []
    for name in customers.rows.columns:
        if name == USER_ID:
            continue
        series = customers.rows[name]
        why = customers.left_out.get(name)
        kind = customers.kinds[name].value if why is None else "not used"
        rows.append((name, kind, why or "", f"{series.null_count() / max(len(series), 1):.1%}"))
    texts = list(customers.notes)
    if customers.n_without_consent:
        texts.append(
            f"{count_text(customers.n_without_consent)} customers agreed to nothing: neither learned from "
            "nor scored."
        )
    if customers.erased:
        texts.append("Erased customers are in no part of this report.")
    texts.append(f"Cells of fewer than {MIN_CELL} people are suppressed, also against subtraction.")
    grid = Grid("Columns", ("column", "taken for", "why not", "missing"), tuple(rows))
    return Section("Data", tuple(texts), (grid,))


def _facts(name: str, result: CustomersResult, parts: Mapping[str, Part]) -> dict[str, Any]:
    """Returns everything as numbers, ready for JSON."""
    customers = result.customers
    return {
        "customers_format": CUSTOMERS_FORMAT,
        "name": name,
        "version": result.version,
        "as_of": customers.as_of,
        "n_customers": customers.rows.height,
        "previous": result.previous.run,
        "traits": {
            trait.name: {
                "type": trait.type,
                "version": trait.version,
                "refused": trait.refused,
                "cautions": list(trait.cautions),
                **parts[trait.name].facts,
            }
            for trait in result.traits
        },
        "audiences": {
            audience.name: {
                "n": _cell(audience.members.height),
                "refused": audience.refused,
                "purpose": audience.purpose.value,
                "expected": audience.expected,
                "lookalike": None if audience.lookalike is None else asdict(audience.lookalike),
                "n_changes": _cell(len(result.changes.get(audience.name, []))),
                "gaps": [asdict(one) for one in audience.gaps],
            }
            for audience in result.audiences
        },
        "columns": {column: kind.value for column, kind in customers.kinds.items()},
        "left_out": dict(customers.left_out),
        "notes": list(customers.notes),
    }


def _cell(count: int) -> int | None:
    """Returns a count of people, None below the floor."""
    return None if 0 < count < MIN_CELL else count
