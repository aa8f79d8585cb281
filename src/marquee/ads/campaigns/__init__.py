"""A campaign at one moment, before one viewer: its day, its hours, and whom it may be shown to."""
