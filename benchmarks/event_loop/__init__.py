"""The event loop measured: what a log keeps and reads, what a policy draws, what the service adds."""
