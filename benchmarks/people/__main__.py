"""Consent, erasure, rules and reasons beside their bounds.

python -m benchmarks.people                  every row, measured beside its bound
python -m benchmarks.people --check          exit status 1 outside the bounds
python -m benchmarks.people --only rules     rows whose name holds the word
"""

import sys

from benchmarks.people import erasure, rules, users, why, workers
from benchmarks.rows import run_rows

GROUPS = {
    "users": users.rows,
    "erasure": erasure.rows,
    "rules": rules.rows,
    "why": why.rows,
    "workers": workers.rows,
}

if __name__ == "__main__":
    sys.exit(run_rows(__doc__.splitlines()[0], GROUPS))
