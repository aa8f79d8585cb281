"""Every method of evidence, from experiments to gaps, beside a published or known number.

    python -m benchmarks.evidence                  every row, measured beside reference
    python -m benchmarks.evidence --check          exit status 1 outside the tolerances
    python -m benchmarks.evidence --only drift     rows whose name holds the word

Data sets are looked for in $MARQUEE_DATA; a row whose file is not there says so, and fails under --check.
"""

import sys

from benchmarks.evidence_rows import experiments, logs, market, watching
from benchmarks.rows import run_rows

GROUPS = {
    "experiments": experiments.rows,
    "logs": logs.rows,
    "market": market.rows,
    "watching": watching.rows,
}

if __name__ == "__main__":
    sys.exit(run_rows(__doc__.splitlines()[0], GROUPS))
