"""From files to customers: what each column is, what is left out, and why."""
