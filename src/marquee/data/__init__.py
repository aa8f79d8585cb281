"""From files to arrays: read, validate, split, encode, with every row accounted for."""
