"""What came of an experiment: sample ratios, effects, adjustment, sequences, plans, verdicts."""
