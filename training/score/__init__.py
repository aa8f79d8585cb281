"""`python -m training.score`: users by a bundle, or new rows by the traits of a run of customers."""
