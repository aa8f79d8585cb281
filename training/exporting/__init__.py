"""Collects the contents of a bundle."""
