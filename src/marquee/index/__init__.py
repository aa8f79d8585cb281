"""Finds the best items under a mask: for one query fast, for all queries exactly, with one tie rule."""
