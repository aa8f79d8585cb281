"""Bundles become an HTTP service. Composition root: imports the serving core, never torch or training."""
