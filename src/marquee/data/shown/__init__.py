"""Exposures as examples: what came of each, and what was known before it."""
