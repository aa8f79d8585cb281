"""Processor time of a training with the defaults, from the command to the report.

    python -m benchmarks.recipe_seconds --check           38,000, 182,000 and 810,000 events
    python -m benchmarks.recipe_seconds gowalla-38000     one of them

What a new user waits for: `python -m training.train` on a YAML of ten lines, on one thread, in a process of
its own, with the baselines and the intervals of its report. User and system time of that process: work
beside it counts little. The sets are random splits of `recipe_data`, none with a setting of its own.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.fits import WITHOUT_TUNED
from benchmarks.recipe_data import OF_SIZES, RandomSplit, write_lists
from marquee.errors import ConfigError, MarqueeError

LIMITS = {"gowalla-38000": 40.0, "gowalla-182000": 150.0, "gowalla": 400.0}  # seconds
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
LONGEST = 3600  # seconds of wall time


def processor_seconds(split: RandomSplit, seed: int, folder: Path) -> float:
    """Returns user and system time of the command on one set.

    Args:
        split: The set.
        seed: Of the training.
        folder: Empty; gets the lists and the run.

    Raises:
        ConfigError: If the command fails.
    """
    write_lists(split.pairs(), folder)
    command = [sys.executable, "-m", "training.train", "data=lightgcn-split", f"data.root={folder}"]
    command += [f"data.name=random-{split.name}", WITHOUT_TUNED, f"seed={seed}", "trainer.threads=1"]
    command += [f"runs={folder / 'runs'}"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command,
        env={**os.environ, **ONE_THREAD},
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise ConfigError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-500:]}")
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> int:
    """Prints the processor time of each set beside its limit; returns the exit status."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("data", nargs="*", help=f"of {', '.join(LIMITS)}; all if left out")
    parser.add_argument("--check", action="store_true", help="exit status 1 above a limit")
    options = parser.parse_args()
    wanted = [split for split in OF_SIZES if split.name in options.data or not options.data]
    verdicts = []
    try:
        for split in wanted:
            if not split.is_there:
                print(f"not on this machine: {split.name}")
                continue
            with tempfile.TemporaryDirectory() as folder:
                seconds = processor_seconds(split, 1, Path(folder))
            verdicts.append(seconds <= LIMITS[split.name])
            said = "" if verdicts[-1] else "   ABOVE"
            print(f"{split.name:<16}{seconds:>6.0f} s of {LIMITS[split.name]:.0f}{said}", flush=True)
    except MarqueeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    is_reached = bool(verdicts) and all(verdicts)
    print("passed" if is_reached else "FAILED")
    return int(options.check and not is_reached)


if __name__ == "__main__":
    sys.exit(main())
