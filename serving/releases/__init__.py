"""Which release answers, on which surface, with which live items."""
