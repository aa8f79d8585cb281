"""Erases users: deletes their rows from store and files, and says in a signed receipt what was deleted."""
