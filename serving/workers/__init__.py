"""The processes that answer: who takes a connection, who watches whom, what they share in memory."""
