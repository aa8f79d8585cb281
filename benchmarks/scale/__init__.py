"""Work in parts, measured: preparation, training, scoring, loading, an index in shards, kills."""
