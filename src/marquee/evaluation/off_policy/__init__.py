"""What another policy would have earned, estimated from the log of one that explored."""
