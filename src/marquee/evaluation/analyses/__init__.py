"""Analyses behind a mean: one module per section of the report."""
