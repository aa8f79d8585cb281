"""How good lists, probabilities, policies and experiments are, with intervals; pure functions of arrays."""
