"""The network behind Ray Serve: two replicas and its proxy, on this machine alone."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import ray
from onnx_network import OnnxNetwork
from ray import serve
from starlette.requests import Request


@serve.deployment(num_replicas=2, max_ongoing_requests=64, ray_actor_options={"num_cpus": 1})
class RayDeployment:
    """The deployment; each replica is a process with a session."""

    def __init__(self) -> None:
        self.network = OnnxNetwork()

    async def __call__(self, request: Request) -> dict[str, Any]:
        """Answer one request."""
        body = await request.json()
        label, probabilities = self.network(np.array(body["instances"], np.float32))
        return {"label": label.tolist(), "probabilities": probabilities.tolist()}


if __name__ == "__main__":
    port, folder = sys.argv[1:]
    ray.init(
        _node_ip_address="127.0.0.1",
        _temp_dir=folder,
        include_dashboard=False,
        num_cpus=2,
        object_store_memory=10**8,
        log_to_driver=False,
    )
    serve.start(http_options={"host": "127.0.0.1", "port": int(port)})
    serve.run(RayDeployment.bind(), route_prefix="/predict", blocking=True)
