"""Whether the service does what its OpenAPI document says: thousands of cases made from the document.

    python -m benchmarks.serving_schema            about three minutes
    python -m benchmarks.serving_schema --check    exit status 1 if one fails, or there are too few

A case fails if it is answered with a 5xx other than the documented 503, with a status or a shape that the
document does not know, or if it is accepted although the document forbids it, or the other way round.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving import running
from benchmarks.serving_bundle import make_bundle

MIN_CASES = 2000
N_ITEMS = 2000
TIMEOUT_S = 1200

HOOKS = """
import schemathesis

# It knows no JSON lines: to the document such a body is text.
schemathesis.serializer.alias(["application/x-ndjson", "application/jsonl"], "text/plain")
"""

CONFIG = """
hooks = "hooks_of_run"

[parameters]
# Whoever gives the service a millisecond gets a 503.
"header.X-Deadline-Ms" = "10000"

[checks]
# 401: routes that need a key look for it first.
negative_data_rejection.expected-statuses = [400, 401, 413, 415, 422]

[[operations]]
include-operation-id = "recommend_batch"
# A wrong part of a batch fails alone, within an answer that is 200.
checks.negative_data_rejection.enabled = false

# Which attributes a filter may name depends on the bundle: the document knows none, and 422 says which.
[[operations]]
include-operation-id = "recommend"
checks.positive_data_acceptance.expected-statuses = [200, 422]

# The same, and which rows read which fields.
[[operations]]
include-operation-id = "page_of_rows"
checks.positive_data_acceptance.expected-statuses = [200, 422]

[[operations]]
include-operation-id = "similar"
checks.positive_data_acceptance.expected-statuses = [200, 404, 422]
"""


@dataclass(frozen=True)
class Run:
    """The findings of schemathesis.

    Attributes:
        n_cases: Requests that it made up.
        is_faithful: Whether each of them was answered as documented.
        output: What it printed.
    """

    n_cases: int
    is_faithful: bool
    output: str


def run_schemathesis(url: str, folder: Path, max_examples: int, timeout_s: int = TIMEOUT_S) -> Run:
    """Runs schemathesis on the service at `url`, with the same cases each time.

    Args:
        url: Of the service, on this machine.
        folder: Receives the configuration.
        max_examples: Cases of each operation in the fuzzing phase; the examples and the edges come on top.
        timeout_s: After so many seconds it is ended, with subprocess.TimeoutExpired.
    """
    config = folder / "schemathesis.toml"
    config.write_text(CONFIG)
    (folder / "hooks_of_run.py").write_text(HOOKS)
    phases = ("--phases", "examples,coverage,fuzzing", "--generation-deterministic", "--no-color")
    command = (sys.executable, "-m", "schemathesis.cli", f"--config-file={config}", "run")
    run = subprocess.run(
        [*command, f"{url}/docs.json", *phases, "-n", str(max_examples)],
        cwd=folder,
        env={**os.environ, "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    counted = run.stdout.partition("Test cases:")[2].split()
    return Run(int(counted[0]) if counted else 0, run.returncode == 0, run.stdout + run.stderr)


def main() -> int:
    """Prints how many cases were answered as documented; returns the exit status."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--max-examples", type=int, default=260, help="of each operation when fuzzing")
    parser.add_argument("--check", action="store_true", help="exit status 1 outside the tolerances")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = make_bundle(folder / "bundles", N_ITEMS, ef_search=64)
        settings = {"MARQUEE_DEADLINE_MS": "10000", "MARQUEE_WORKERS": "1"}
        with running("this service", made.folder, folder, **settings) as server:
            run = run_schemathesis(f"http://127.0.0.1:{server.port}", folder, options.max_examples)
    print(f"cases: {run.n_cases}, required >= {MIN_CASES}")
    print(f"all answered as documented: {run.is_faithful}, required True")
    if not run.is_faithful:
        print(run.output[-6000:])
    return int(options.check and not (run.is_faithful and run.n_cases >= MIN_CASES))


if __name__ == "__main__":
    sys.exit(main())
