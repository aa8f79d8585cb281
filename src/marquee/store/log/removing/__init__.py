"""Removes rows from the event log for good, from either store."""
