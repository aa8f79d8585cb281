"""Measures of consent, erasure, rules and reasons."""
