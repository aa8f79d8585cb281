"""One training of a head: exposures described, a network fitted, a calibration upon it."""
