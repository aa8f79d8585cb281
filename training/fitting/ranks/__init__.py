"""One training on several processes: who starts them, what they share, and what each may write."""
