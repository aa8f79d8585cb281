"""Marquee: train, judge and serve deep-learning recommenders for ads and content."""
