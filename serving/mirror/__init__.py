"""Brings bundles from somewhere else into the folder that workers follow: `python -m serving.mirror`."""
