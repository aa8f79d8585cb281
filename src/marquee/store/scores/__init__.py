"""Folders of scores: the best items of many users at a moment, a file for each bucket of users."""
