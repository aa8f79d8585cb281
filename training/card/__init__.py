"""`python -m training.card run=…`: the card of a model."""
