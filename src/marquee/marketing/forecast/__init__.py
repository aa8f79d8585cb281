"""Sales and delivery of the coming weeks: a level times a profile of the week, judged on the past."""
