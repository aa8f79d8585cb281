"""The route that explains one decision, and the releases that it asks."""
