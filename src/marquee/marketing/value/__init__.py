"""The worth of customers: how often they will buy, for how much, and how well past data bear it out."""
