"""The event log in the service: keeps what happened, records what was decided, and reads profiles back."""
