"""Checks of columns before training, each in a module of its own; `findings` puts them together."""
