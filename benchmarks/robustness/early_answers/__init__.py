"""Answers that are given before the body has been read, and the clients that receive them."""
