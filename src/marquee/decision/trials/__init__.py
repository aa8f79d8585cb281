"""Rules before they hold: checked against the releases that answer, and tried on decisions of the log."""
