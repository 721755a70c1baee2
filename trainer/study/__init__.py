"""Experiments that show the effects of a hidden layer and of the learning rate."""
