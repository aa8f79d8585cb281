"""Rules of people over the items of a release: masks, boosts and pins."""
