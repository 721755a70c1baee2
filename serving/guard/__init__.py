"""The guard: what is refused before it costs anything, by what is read and by who asks."""

from serving.guard.bodies import read_body

__all__ = ["read_body"]
