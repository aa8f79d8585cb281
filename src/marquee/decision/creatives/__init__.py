"""Creatives: how an item is said, by templates over its fields, one of which a bandit chooses."""
