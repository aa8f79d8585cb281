"""From an event log to a training table: days, exposures with what came of them, and counts."""
