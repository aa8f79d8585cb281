"""The routes of campaigns: who pays to be shown, to whom, when and for how much."""
