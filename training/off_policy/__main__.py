"""Estimates a candidate from a table; exits with 3 where the log cannot speak about it."""

import sys
from dataclasses import dataclass
from pathlib import Path

from marquee.evaluation.off_policy.table import OffPolicyConfig, estimate_candidate
from marquee.reports.evidence.off_policy import off_policy_page
from marquee.reports.evidence.page import write_page
from training.cli.command import command
from training.cli.console import open_console
from training.off_policy.choices import register_schemas

# The choices of `ope` start from their schemas.
register_schemas()

# Not 1 or 2, which stand for faults: the page is written and says what is missing.
EXIT_NOT_IDENTIFIABLE = 3


@dataclass(kw_only=True)
class OffPolicyCommandConfig:
    """A log and a candidate.

    Attributes:
        ope: The declaration.
        out: Folder of the report.
    """

    ope: OffPolicyConfig
    out: str = "evidence/off_policy"


@command("off_policy", OffPolicyCommandConfig)
def main(config: OffPolicyCommandConfig) -> None:
    """Estimates the candidate that the config declares."""
    found = estimate_candidate(config.ope)
    page = off_policy_page(found, config.ope.table.path)
    path = write_page(page, Path(config.out), "off_policy")
    console = open_console()
    (finding,) = page.findings
    console.print(f"{finding.title}: {finding.text}")
    console.print(f"report {path}")
    if not found.value.support.is_identifiable:
        sys.exit(EXIT_NOT_IDENTIFIABLE)


if __name__ == "__main__":
    main()
