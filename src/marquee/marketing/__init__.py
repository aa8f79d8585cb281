"""Customers: who they are, what they will do, what they are worth, and whom to speak to."""
