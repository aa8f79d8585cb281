"""The routes about single people: what they consent to, what is held of them, and how they are erased."""
