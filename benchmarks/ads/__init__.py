"""Auctions, budgets and probabilities of advertisements beside published and known numbers."""
