"""How much a text praises or blames: from words to a probability, by numpy alone."""
