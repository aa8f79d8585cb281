"""Campaigns: who pays to be shown, to whom, when and for how much; versioned, every change on record."""
