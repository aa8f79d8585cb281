"""Models, losses, negatives and optimizers: the only part of the library that imports torch."""
