"""Requests per second of this server and of others: closed loops on the same graphs and cores."""
