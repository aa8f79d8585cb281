"""Counters, log and traces."""
