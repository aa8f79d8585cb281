"""Judges a run, its parts, and writes what came of it."""
