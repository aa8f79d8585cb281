"""From a request to what the model answered: jobs, their queue, their batches."""
