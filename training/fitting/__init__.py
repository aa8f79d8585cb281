"""One training: module, callbacks, examples, checkpoints, warm start."""
