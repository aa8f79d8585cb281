"""`python -m training.monitor reference=… current=…`: has what comes in changed?"""
