"""The head of a bundle that says how likely a click and a conversion are: its files, and how it is asked."""
