"""The report of a run: one content, written as a page for people and as Markdown and JSON for the rest."""

from marquee.reports.amending import amend_report
from marquee.reports.comparing import (
    ComparedRun,
    Contrast,
    RunComparison,
    compare_runs,
    render_comparison,
)
from marquee.reports.content import (
    Curve,
    ListedItem,
    Part,
    Protocol,
    ReportContent,
    Sample,
    curves_from_rows,
    pick_samples,
)
from marquee.reports.verdict import Comparison, Finding, Verdict, judge_against, protocol_warnings
from marquee.reports.writing import render_html, render_markdown, write_report

__all__ = [
    "ComparedRun",
    "Comparison",
    "Contrast",
    "Curve",
    "Finding",
    "ListedItem",
    "Part",
    "Protocol",
    "ReportContent",
    "RunComparison",
    "Sample",
    "Verdict",
    "amend_report",
    "compare_runs",
    "curves_from_rows",
    "judge_against",
    "pick_samples",
    "protocol_warnings",
    "render_comparison",
    "render_html",
    "render_markdown",
    "write_report",
]
