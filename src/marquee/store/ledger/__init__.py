"""The ledger of campaigns: what may be spent, who holds what of it, what was charged, and who saw what."""
