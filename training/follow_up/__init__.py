"""`python -m training.follow_up run=…`: speaks to the members of audiences who are due."""
