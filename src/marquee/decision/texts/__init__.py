"""Requests that ask for items by words."""
