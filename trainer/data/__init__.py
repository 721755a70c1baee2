"""Data: reading, checking and splitting rows, and preprocessing their columns for the network."""
