"""Converts an event log that was begun with the operator's own ids into one with pseudonyms."""
