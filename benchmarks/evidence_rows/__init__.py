"""The rows of `benchmarks.evidence`, by subject."""
