"""Puts a series of retrainings into a report that is already written, without judging anything again.

A back-test and a learning curve come hours after the report, and judging the model once more to write it
anew would read the test part a second time. What is put in is what the report would have said from the start.
"""

from pathlib import Path

from marquee.errors import DataError
from marquee.evaluation.analyses.retraining import RetrainingSeries
from marquee.reports.sections import render_series
from marquee.reports.writing import HTML_NAME, MARKDOWN_NAME


def amend_report(folder: Path, name: str, series: RetrainingSeries) -> None:
    """Replaces the section of some retrainings in `report.html` and `report.md` of a folder.

    Args:
        folder: Of the report.
        name: `backtest` or `learning_curve`.
        series: What the section is to show.

    Raises:
        DataError: If the report has no such section to replace.
    """
    for file, form in ((HTML_NAME, "html"), (MARKDOWN_NAME, "md")):
        path = folder / file
        # Between marks that the templates write: all around stays byte for byte.
        head, begin, rest = path.read_text(encoding="utf-8").partition(f"<!-- {name} -->\n")
        _, end, tail = rest.partition(f"\n<!-- end of {name} -->")
        if not begin or not end:
            raise DataError(
                f"{path} must have a section {name!r} to replace, got none; write the report again with "
                "`python -m training.evaluate`"
            )
        path.write_text(f"{head}{begin}{render_series(name, series, form)}{end}{tail}", encoding="utf-8")
