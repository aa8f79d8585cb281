"""How a model does by group of people and of items."""
