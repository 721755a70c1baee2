"""Export of a trained model: build the ONNX graph, compare it with NumPy, write the bundle."""

import trainer.train_extra  # noqa: F401 - says which extra to install
