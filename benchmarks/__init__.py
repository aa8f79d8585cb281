"""One module per claim: each prints measured beside reference and exits non-zero outside tolerance."""
