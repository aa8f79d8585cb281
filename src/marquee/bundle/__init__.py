"""What training hands to serving: written whole, verified byte by byte, signed, and pointed at."""
