"""Run folders, and the data of a run."""
