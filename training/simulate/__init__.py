"""Simulates a market, and flights of campaigns on it, on streams of auctions or on a service's log."""
