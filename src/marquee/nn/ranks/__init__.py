"""Training on several processes: what they tell each other, and tables that they hold in parts."""
