"""Every method on customers, from churn to uplift, beside a published or known number.

    python -m benchmarks.customers                  every row, measured beside reference
    python -m benchmarks.customers --check          exit status 1 outside the tolerances
    python -m benchmarks.customers --only churn     rows whose name holds the word

Data sets are looked for in $MARQUEE_DATA; a row whose file is not there says so, and fails under --check.
"""

import sys

from benchmarks.customers import (
    audiences,
    forecasts,
    probabilities,
    scale,
    segments,
    serving,
    texts,
    uplift,
    values,
)
from benchmarks.rows import run_rows

GROUPS = {
    "probabilities": probabilities.rows,
    "values": values.rows,
    "texts": texts.rows,
    "forecasts": forecasts.rows,
    "segments": segments.rows,
    "audiences": audiences.rows,
    "uplift": uplift.rows,
    "serving": serving.rows,
    "scale": scale.rows,
}


def main() -> int:
    """Prints the table; returns 1 under --check if a row is outside its tolerance."""
    return run_rows(__doc__.splitlines()[0], GROUPS)


if __name__ == "__main__":
    sys.exit(main())
