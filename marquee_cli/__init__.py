"""The command `marquee`: finds the module that a word stands for, and starts it as `python -m` would.

It imports no room, so that it knows neither torch nor BentoML, and answers at once whatever is installed.
"""
