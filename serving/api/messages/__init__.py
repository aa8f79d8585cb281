"""Requests and answers over HTTP, as typed messages: strict on the way in, exact on the way out."""
