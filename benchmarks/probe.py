"""A fixed piece of work that tells how fast this host is now, so that limits in time hold on any host.

The work never changes and calls nothing of ours: it parses and writes JSON, multiplies a matrix, hashes and
sorts, as a request does. A limit in time is stated for the host that it was set on and grows with `slowness`.
"""

import hashlib
import json
import time
from statistics import median

import numpy as np

REFERENCE_US = 69.0  # on an AMD EPYC of 2 shared cores, on which limits in time were set, 2026-11-30
N_REPETITIONS = 200
N_ROWS, N_COLUMNS = 4096, 64


def probe_us(n_repetitions: int = N_REPETITIONS) -> float:
    """Returns the median processor time of the fixed work, microseconds.

    Args:
        n_repetitions: How often it is done; the first tenth is not counted.
    """
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((N_ROWS, N_COLUMNS), dtype=np.float32)
    vector = rng.standard_normal(N_COLUMNS, dtype=np.float32)
    text = json.dumps({"user_id": "u1", "k": 10, "history": [f"item-{n:06d}" for n in range(50)]})
    spent = []
    for _ in range(n_repetitions):
        start = time.process_time()
        asked = json.loads(text)
        scores = matrix @ vector
        best = np.argsort(scores)[-10:]
        named = [{"item_id": asked["history"][row % 50], "score": float(scores[row])} for row in best]
        hashlib.sha256(json.dumps(named).encode()).hexdigest()
        spent.append(time.process_time() - start)
    return median(spent[n_repetitions // 10 :]) * 1e6


def slowness(measured_us: float | None = None) -> float:
    """Returns how many times slower this host is than the one on which limits in time were set, 1 or more.

    Args:
        measured_us: Time of the probe; measured now if left out.
    """
    return max(1.0, (probe_us() if measured_us is None else measured_us) / REFERENCE_US)
