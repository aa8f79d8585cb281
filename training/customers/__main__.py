"""Computes traits and audiences of customers; writes them, their changes and a report into a run folder."""

import sys
from dataclasses import asdict, dataclass

import yaml

from marquee.bundle.traits.pseudonyms import pseudonym_key
from marquee.marketing.config import CustomersConfig
from marquee.marketing.running import Previous, run_customers
from marquee.reports.customers.page import customers_page
from marquee.reports.evidence.page import write_page
from training.cli.command import command
from training.cli.console import open_console
from training.customers.folders import CustomersFolder

# A scheduler sees that something was refused without reading the report.
EXIT_REFUSED = 2


@dataclass(kw_only=True)
class CustomersCommandConfig:
    """Which customers, and where the runs go.

    Attributes:
        customers: The declaration.
        out: Folder of the runs; each goes into a folder of its own by name and time.
    """

    customers: CustomersConfig
    out: str = "runs/customers"


@command("customers", CustomersCommandConfig)
def main(config: CustomersCommandConfig) -> None:
    """Computes what the config declares."""
    own = config.customers
    last = CustomersFolder.last(config.out, own.name)
    previous = Previous() if last is None else last.previous(own.audiences)
    result = run_customers(own, previous, pseudonym_key(own.pseudonyms))
    folder = CustomersFolder.open(config.out, own.name)
    declared = yaml.safe_dump(_plain(asdict(own)), sort_keys=False, allow_unicode=True)
    folder.write(result, declared, own.pseudonyms, own.consent)
    page = customers_page(own.name, result)
    path = write_page(page, folder.path, "customers")
    folder.become_latest()
    console = open_console()
    for finding in page.findings:
        console.print(f"{finding.title}: {finding.text}")
    for warning in page.warnings:
        console.print(f"note: {warning}")
    console.print(f"report {path}")
    if result.refusals:
        for refusal in result.refusals:
            console.print(f"refused: {refusal}")
        sys.exit(EXIT_REFUSED)


def _plain(value: object) -> object:
    """Returns a config as YAML can hold it: words in place of choices."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, str) else value


if __name__ == "__main__":
    main()
