"""Between a file and a validated table: sources, column names, values, rules, and what was rejected."""
