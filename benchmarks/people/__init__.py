"""What people decide, measured: consent, erasure, rules and reasons."""
