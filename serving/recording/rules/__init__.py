"""The rules of one worker, and their counters."""
