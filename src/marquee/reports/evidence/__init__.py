"""Pages of evidence: an experiment, an estimate from a log, drift, the card of a model."""
