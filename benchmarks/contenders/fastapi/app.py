"""The network behind FastAPI, with pydantic models for bodies and answers, as in its tutorial."""

from __future__ import annotations

import numpy as np
from fastapi import FastAPI
from onnx_network import OnnxNetwork
from pydantic import BaseModel

app = FastAPI()
network = OnnxNetwork()  # uvicorn starts its workers with spawn, so each has a session of its own


class FastapiRequest(BaseModel):
    """The body of a request."""

    instances: list[list[float]]


class FastapiAnswer(BaseModel):
    """The body of an answer, which pydantic itself encodes faster than a response class would."""

    label: list[int]
    probabilities: list[list[float]]


@app.post("/predict")
async def predict(body: FastapiRequest) -> FastapiAnswer:
    """Run the network in the event loop, as a switch to a thread would cost more than the run."""
    label, probabilities = network(np.array(body.instances, np.float32))
    return FastapiAnswer(label=label.tolist(), probabilities=probabilities.tolist())
