"""Targeting: what is decided for some users alone, by their traits and audiences."""
