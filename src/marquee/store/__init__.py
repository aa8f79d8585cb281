"""Keeps what must survive a crash and what workers share: files, logs, tables, locks, signatures."""
