"""From the columns of customers to fitted probabilities."""
