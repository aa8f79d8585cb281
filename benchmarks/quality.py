"""Experiments run again: what they find beside what they found before, and beside what others state.

    python -m benchmarks.quality --list               every experiment, and what it found
    python -m benchmarks.quality gowalla-64           one or more of them, anew
    python -m benchmarks.quality                      all of them: hours
    python -m benchmarks.quality gowalla-64 --seeds 3 mean and spread
    python -m benchmarks.quality movielens-100k --variants    also what each part adds
    python -m benchmarks.quality --check              exit status 1 outside the tolerances

What an experiment is expected to find, what was wanted and what others state is read from the head of its
file in `configs/experiment`. Settings are chosen on the validation part; an experiment that reads the test
part fits on training and validation together and reads it once per seed. Variants are judged on validation.
"""

import argparse
import sys
from collections.abc import Sequence

import numpy as np

from benchmarks.experiments import Figure, Notes, Result, list_experiments, read_notes, run_experiment
from marquee.errors import MarqueeError

ON_VALIDATION = ("data.split.fit_on_validation=false", "evaluation.test=false")


def measure(notes: Notes, n_seeds: int, overrides: Sequence[str] = ()) -> list[Result]:
    """Runs one experiment, one result per seed, each printed as soon as it is there."""
    results = []
    for seed in range(1, n_seeds + 1):
        results.append(run_experiment(notes.name, [*overrides, f"seed={seed}"]))
        found = ", ".join(f"{f.metric} {results[-1].means['model'][f.metric]:.4f}" for f in notes.expected)
        print(f"{notes.name}, seed {seed}: {found} after {results[-1].train_seconds:.0f} s", flush=True)
    return results


def mean_and_spread(results: Sequence[Result], metric: str) -> tuple[float, str]:
    """Returns the mean of the model's metric over seeds, and how it is printed."""
    values = np.array([result.means["model"][metric] for result in results])
    spread = f" ± {values.std(ddof=1):.4f}" if len(values) > 1 else ""
    return float(values.mean()), f"{values.mean():.4f}{spread}"


def report(notes: Notes, results: Sequence[Result]) -> bool:
    """Prints what was found beside the rest; returns whether it is as good as expected."""
    minutes = max(result.train_seconds for result in results) / 60
    print(f"\n{notes.name}: {notes.texts['Question'][0]}")
    print(f"  {results[0].part}, {len(results)} seed(s), {minutes:.1f} min of training at most")
    return all([_report_metric(notes, results, expected) for expected in notes.expected])


def _report_metric(notes: Notes, results: Sequence[Result], expected: Figure) -> bool:
    """Prints one metric beside all that is known of it; returns whether it is as good as expected."""
    metric, verdict = expected.metric, ""
    mean, printed = mean_and_spread(results, metric)
    falls_short = mean < expected.value - expected.tolerance
    if falls_short:
        verdict = "BELOW WHAT IS EXPECTED"
    elif mean > expected.value + expected.tolerance:
        verdict = "above: write the head anew"
    print(f"  {metric:<10} {printed}  expected {expected.value:.4f} ± {expected.tolerance:.4f}  {verdict}")
    for target in notes.targets:
        if target.metric == metric:
            print(f"  {'':<10} {target.value:.4f}  wanted: {'reached' if mean >= target.value else 'missed'}")
    for published in notes.published:
        if published.metric == metric:
            print(f"  {'':<10} {published.value:.4f}  {published.source}")
    for name, means in results[0].means.items():
        if name != "model":
            print(f"  {'':<10} {means[metric]:.4f}  measured: {name}")
    return not falls_short


def report_variants(notes: Notes, n_seeds: int) -> None:
    """Prints the experiment with and without each of its parts, on the validation part."""
    metric = notes.expected[0].metric
    print(f"\n{notes.name}, parts left out or added one at a time: {metric}, validation, {n_seeds} seed(s)")
    for what, overrides in {"as it is": [], **notes.variants}.items():
        _, printed = mean_and_spread(measure(notes, n_seeds, [*ON_VALIDATION, *overrides]), metric)
        print(f"  {printed}  {what}", flush=True)


def print_list(names: Sequence[str]) -> None:
    """Prints what each experiment asked and found."""
    for notes in map(read_notes, names):
        figures = ", ".join(f"{f.metric} {f.value:.4f}" for f in notes.expected)
        print(f"{notes.name}: {notes.texts['Question'][0]}\n  {figures}. {notes.texts['Found'][0]}")


def main() -> int:
    """Prints measured beside reference; returns the exit status."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("names", nargs="*", help="all if left out")
    parser.add_argument("--list", action="store_true", help="run nothing")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--variants", action="store_true")
    parser.add_argument("--check", action="store_true", help="exit status 1 outside the tolerances")
    options = parser.parse_args()
    names = options.names or list_experiments()
    try:
        pages = [read_notes(name) for name in names]
        if options.list:
            print_list(names)
            return 0
        outcomes = []
        for notes in pages:
            outcomes.append(report(notes, measure(notes, options.seeds)))
            if options.variants and notes.variants:
                report_variants(notes, options.seeds)
    except MarqueeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\npassed" if all(outcomes) else "\nFAILED")
    return int(options.check and not all(outcomes))


if __name__ == "__main__":
    sys.exit(main())
