"""Which candidate is drawn for a place, and how probable that was: greedy, epsilon, softmax, Thompson."""
