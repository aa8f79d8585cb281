"""The texts of items, so that they can be asked for by words."""
