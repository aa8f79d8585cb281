"""Bytes, connections, keys, limits, and what workers share in memory; knows no recommender."""
