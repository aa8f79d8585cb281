"""Pages of several rows for one user."""
