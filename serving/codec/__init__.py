"""Codec: bytes to arrays and back. One file a format."""
