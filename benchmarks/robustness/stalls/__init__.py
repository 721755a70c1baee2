"""Hostile bodies and bundles, and how long a client waits while the server handles them."""
