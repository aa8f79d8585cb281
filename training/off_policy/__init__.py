"""`python -m training.off_policy`: the value of a candidate by the log of another policy."""
