"""Studies: classic experiments that show what a hidden layer and a learning rate are worth."""
