"""The report of customers: verdicts, probabilities, segments, values, effects, audiences."""
