"""The value of another policy, estimated from the log of one that explored."""
