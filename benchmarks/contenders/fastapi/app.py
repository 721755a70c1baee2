"""The network behind FastAPI, bodies and answers declared with pydantic, as its tutorial has it."""

from __future__ import annotations

import numpy as np
from fastapi import FastAPI
from onnx_network import Network
from pydantic import BaseModel

app = FastAPI()
network = Network()  # uvicorn's workers are spawned: each has its own


class Rows(BaseModel):
    """The body."""

    instances: list[list[float]]


class Answers(BaseModel):
    """The answer: pydantic writes it as JSON by itself, faster than a response class would."""

    label: list[int]
    probabilities: list[list[float]]


@app.post("/predict")
async def predict(rows: Rows) -> Answers:
    """In the event loop: a hop to a thread would cost more than the run."""
    label, probabilities = network(np.array(rows.instances, np.float32))
    return Answers(label=label.tolist(), probabilities=probabilities.tolist())
