"""The network behind BentoML, with arrays in the signature, as its documentation recommends."""

from typing import Annotated, Any

import bentoml
import numpy as np
from bentoml.validators import DType, Shape
from numpy.typing import NDArray
from onnx_network import OnnxNetwork


@bentoml.service(workers=2, logging={"access": {"enabled": False}})
class BentomlService:
    """The service: two processes, each with a session."""

    def __init__(self) -> None:
        self.network = OnnxNetwork()

    @bentoml.api(route="/predict")
    def predict(
        self, instances: Annotated[NDArray[np.float32], DType("float32"), Shape((-1, 784))]
    ) -> dict[str, Any]:
        """Answer one request."""
        label, probabilities = self.network(instances)
        return {"label": label.tolist(), "probabilities": probabilities.tolist()}
