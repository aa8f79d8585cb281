"""`python -m training.customers customers=…`: traits and audiences of customers, and a report of them."""
