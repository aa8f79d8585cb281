"""One module per contestant of the race for speed, run by the interpreter that has its library."""
