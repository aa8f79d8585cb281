"""Data, training, scoring and an index in parts, measured beside reference.

python -m benchmarks.scale                   every row, measured beside reference
python -m benchmarks.scale --check           exit status 1 outside the tolerances
python -m benchmarks.scale --only faults     rows whose name holds the word
python -m benchmarks.scale --large           larger sizes, which take hours
"""

import sys

from benchmarks.rows import run_rows
from benchmarks.scale import faults, index, loading, prepare, scoring, training
from benchmarks.scale.sizes import SIZES

GROUPS = {
    "prepare": prepare.rows,
    "index": index.rows,
    "training": training.rows,
    "faults": faults.rows,
    "scoring": scoring.rows,
    "loading": loading.rows,
}

if __name__ == "__main__":
    sys.exit(run_rows(__doc__.splitlines()[0], GROUPS, SIZES.enlarge))
