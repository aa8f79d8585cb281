"""Scores of forms and members of audiences, by a run of customers."""
