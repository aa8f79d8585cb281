"""Whom a mail changes: learned from arms that were drawn by lot, beside targeting by response."""
