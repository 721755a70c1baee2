"""Export of a trained model: build the ONNX graph, compare it with NumPy, write the bundle."""
