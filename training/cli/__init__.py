"""The parts that every command shares."""
