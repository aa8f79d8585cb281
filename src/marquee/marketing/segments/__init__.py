"""Groups of customers: by what they bought, or by what they are like, named by what sets them apart."""
