"""Probabilities of a click and a conversion for candidates of a request, by the head of the bundle."""
