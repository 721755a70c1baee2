"""Answers that are sent before the request's body has been read, and the clients that get them."""
