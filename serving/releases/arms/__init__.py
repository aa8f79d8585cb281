"""Experiments of a service: which arm a caller is in, and the settings of a surface that it changes."""
