"""Whether what comes in now is still what was learned from: bins, chance, labels, hours."""
