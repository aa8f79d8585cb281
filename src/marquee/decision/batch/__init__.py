"""Answers of many users as columns: the stages of `recommender`, without an object for each item."""
