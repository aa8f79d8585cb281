"""Where training begins: random vectors, vectors from a decomposition, or those of an earlier run."""
