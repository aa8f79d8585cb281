"""Forms: what scores a customer who has just told of themselves, of every type of trait that can."""
