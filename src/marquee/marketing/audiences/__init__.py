"""Named conditions over customers: members, what changed, and who is spoken to."""
