"""Features of an exposure: what was known of an item, a user and a moment before something was shown."""
