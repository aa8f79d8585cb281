"""The whole circle in one command: `python -m demo` trains, judges, exports, serves and asks.

A caller like any other: it starts the commands that a person would type, speaks HTTP to the service,
and reads the bundle through the library.
"""
