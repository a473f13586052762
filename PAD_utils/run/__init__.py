"""A run: configuration, stages, resuming, outputs."""
