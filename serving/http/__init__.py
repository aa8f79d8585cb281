"""Bytes, connections, keys and limits; knows no recommender."""
