"""From a file to a lazy frame of its rows as they are written: one module for each way of writing."""
