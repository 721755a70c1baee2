"""Routes: one file a protocol, each a thin face over `predict`."""
