"""Experiments: how they are declared, and which arm a unit is in."""
