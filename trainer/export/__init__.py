"""Export: a model becomes an ONNX graph, is held to its NumPy self, and lands as a bundle."""
