"""Every method on customers beside a published or known number."""
