"""A soak: mixed load, reloads and bad requests for long, and whether anything drifts."""
