"""A request becomes an answer, by stages: encode, retrieve, filter, score, re-rank, place."""
