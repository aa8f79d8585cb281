"""Vectors without a step of training: random, decomposed, in closed form, or those of an earlier run."""
