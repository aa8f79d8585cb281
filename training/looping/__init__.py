"""The steps between an event log and a release: what is new in the log, and how far the last loop came."""
