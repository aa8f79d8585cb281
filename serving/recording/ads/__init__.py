"""Campaigns and their money, as a worker knows them: asked anew for every answer, spent from leases."""
