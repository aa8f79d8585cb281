"""Pacing, allocation and auctions beside published numbers, and what holds of money whatever fails.

    python -m benchmarks.ads                   every row, measured beside reference
    python -m benchmarks.ads --check           exit status 1 outside the tolerances
    python -m benchmarks.ads --only pacing     rows whose name holds the word

Data sets are looked for in $MARQUEE_DATA; a row whose file is not there says so, and fails under --check.
"""

import sys

from benchmarks.ads import (
    allocation,
    answers_over_http,
    auctions,
    decisions,
    delivery,
    faults,
    flights,
    money,
    pacing,
    probabilities,
    published,
)
from benchmarks.rows import run_rows

GROUPS = {
    "published": published.rows,
    "pacing": pacing.rows,
    "delivery": delivery.rows,
    "allocation": allocation.rows,
    "auction": auctions.rows,
    "probabilities": probabilities.rows,
    "money": money.rows,
    "faults": faults.rows,
    "flights": flights.rows,
    "decisions": decisions.rows,
    "decisions over HTTP": answers_over_http.rows,
}

if __name__ == "__main__":
    sys.exit(run_rows(__doc__.splitlines()[0], GROUPS))
