"""Data: where rows come from, how they are split, how features are prepared for the network."""
