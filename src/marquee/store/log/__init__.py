"""Keeps decisions and events in the order in which they were acknowledged, in one of two stores."""
