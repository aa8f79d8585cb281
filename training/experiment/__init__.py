"""`python -m training.experiment ab=…`: what came of an experiment, or what it would need."""
