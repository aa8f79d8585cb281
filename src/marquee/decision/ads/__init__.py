"""Ads beside content: which creatives may be shown, found and scored within one decision."""
