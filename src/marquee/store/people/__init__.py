"""The decisions of people on themselves: the pseudonyms they are kept under, and how much may be used."""
