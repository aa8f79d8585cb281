"""The analysis of an experiment: sample ratios, effects, adjustment, sequences, plans, verdicts."""
