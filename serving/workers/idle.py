"""`python -m serving.workers.idle <module> [nice]`: runs a module; it computes where nobody else wants to.

A niceness alone does not let answers pass: it says how much of a core a process gets, not how soon it leaves
it. A worker that wakes up waits until the other's time slice ends, milliseconds, and the p99 of answers
doubles. `SCHED_IDLE` leaves at once. It is not for a thread that holds a lock of a store, behind which
workers wait: where all cores are busy such a thread does not run for seconds. So only the threads that
compute get it: a thread begins with what the one has that starts it.

```
main thread      nice; runs `main` of the module, with its locks
loading thread   idle; imports the module, and has Polars start its threads
```

Where no core is ever idle, nothing would ever end: with `nice` all threads are merely nice.
"""

import importlib
import io
import os
import sys
import threading
from collections.abc import Sequence

NICE = "nice"

# For what the main thread does itself: answers come first.
_NICENESS = 10


def run(module: str, *, is_idle: bool) -> int:
    """Runs `main` of a module; returns the exit status that it gives.

    Args:
        module: Its name.
        is_idle: Whether it computes on idle cores alone.
    """
    # Before anything is loaded: half a second of imports would already stand in the way of answers.
    os.nice(_NICENESS)
    # One thread each, as in the workers: two would be in the way of both cores at once.
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    if is_idle:
        loading = threading.Thread(target=_load, args=(module,), name="loading")
        loading.start()
        loading.join()
    # Also where the thread failed: here the error ends the process.
    status: int = importlib.import_module(module).main()
    return status


def _load(module: str) -> None:
    """Imports a module and starts the threads of Polars, in a thread that gives way to everybody."""
    # Linux alone has it; elsewhere the niceness of the process must do.
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    importlib.import_module(module)
    import polars as pl

    # Threads are started at the first use of each: a plan that is written, and one that is read.
    file = io.BytesIO()
    pl.LazyFrame({"number": [1]}).sink_parquet(file, engine="streaming")
    file.seek(0)
    pl.scan_parquet(file).filter(pl.col("number") == 1).collect(engine="streaming")


def main(arguments: Sequence[str]) -> int:
    """Runs the module that the first argument names; returns the exit status."""
    if len(arguments) not in (1, 2) or arguments[1:] not in ([], [NICE]):
        print(f"usage: python -m serving.workers.idle <module> [{NICE}]", file=sys.stderr)
        return 2
    return run(arguments[0], is_idle=len(arguments) == 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
