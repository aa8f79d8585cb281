"""Probabilities beside what happened: fitted, judged, with intervals."""
