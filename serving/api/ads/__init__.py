"""Ads beside content: slots are sold within a decision, and told with who is behind them."""
