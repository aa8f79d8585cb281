"""Ids that nobody gave: made of a moment."""
