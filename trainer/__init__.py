"""What learns: from data to a proved bundle.

The floors, bottom up: `nn` (the network, NumPy only), `data` (tables and their preprocessing),
`fit` (the training loop), `model` (a trained network with its preprocessing and its answers),
`sequential` (stack, compile, fit) and `estimators` (scikit-learn's face), `evaluate` (held-out
metrics), `export` (ONNX, parity, the bundle), `choices` (every option of a run), `recipe` (the road
from one end to the other) and `cli`.
"""
