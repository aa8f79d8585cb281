"""The end of the demo by a fault: one error, whose message is for the person in front of the terminal."""


class DemoError(Exception):
    """A step of the demo failed; the message says which, with what, and what to do."""
