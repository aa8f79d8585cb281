"""Learns what praise and blame sound like in a shop's own feedback, and follows it over time."""
