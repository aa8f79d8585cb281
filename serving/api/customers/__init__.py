"""What a run of customers computed, asked of the service: scores of forms, and members of audiences."""
