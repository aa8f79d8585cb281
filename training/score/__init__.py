"""`python -m training.score run=… path=new.csv`: new rows by the traits of a run of customers."""
