"""A soak: a long mixed load on a server, which must keep its memory and latency."""
