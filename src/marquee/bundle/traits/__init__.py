"""Traits that travel: how the columns of a customer become numbers, and numbers a probability."""
