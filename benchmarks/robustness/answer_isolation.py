"""Does every client receive its own answer? Many different requests at once, on many connections.

The answer to each request is computed in advance by ONNX Runtime and this project's encoder, for
that request alone. The answers differ, so that an answer to another request would be noticed.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.robustness.background_client import BackgroundClient, ReceivedAnswer, prepare_post
from benchmarks.robustness.server import RunningServer, run_server
from serving.call_context import CallContext
from serving.codec.messages import EncodedRequest
from serving.inference.batching import Batcher
from serving.inference.predictor import Predictor
from serving.repository import Repository

BODY_COUNT = 2000
ROW_COUNTS = (1, 1, 1, 1, 2, 3, 5, 8, 20, 64, 200)  # drawn from, so that most bodies are small
CONNECTIONS = 64
MAX_SECONDS = 600
MIN_DISTINCT_SHARE = 0.95  # of the answers
CHECK_SECONDS = 0.05


def draw_bodies(models: Path, seed: int = 6) -> list[tuple[bytes, bytes]]:
    """Draw request bodies, and compute the correct answer to each.

    Raises:
        RuntimeError: If too many of the answers are the same.
    """
    rng = np.random.default_rng(seed)
    repository = Repository(models)
    repository.load()
    model = repository.find_model(None)
    predict = Predictor(Batcher())
    pairs = []
    for _ in range(BODY_COUNT):
        rows = rng.integers(0, 17, (int(rng.choice(ROW_COUNTS)), len(model.manifest.inputs)))
        body = json.dumps({"instances": rows.tolist()}).encode()
        answer = predict("rows", model, EncodedRequest(body), CallContext()).content
        pairs.append((body, answer))
    distinct = len({answer for _, answer in pairs})
    if distinct < BODY_COUNT * MIN_DISTINCT_SHARE:
        raise RuntimeError(
            f"expected answers that tell requests apart; got {distinct} different ones of "
            f"{BODY_COUNT}; choose another seed or model"
        )
    return pairs


def count_own_answers(
    servers: Sequence[RunningServer], pairs: Sequence[tuple[bytes, bytes]], count: int
) -> dict[str, int]:
    """Ask servers at the same time, and count the correct answers and all others.

    Args:
        servers: The servers.
        pairs: Bodies, and the correct answer to each.
        count: Number of requests.
    """
    is_correct: Counter[bool] = Counter()

    def on_received(answer: ReceivedAnswer) -> None:
        is_correct[answer.status == 200] += 1

    with ExitStack() as stack:
        clients = [
            stack.enter_context(
                BackgroundClient(
                    server.address,
                    [
                        prepare_post(server.address, "/predict", body, expected_body=answer)
                        for body, answer in pairs
                    ],
                    connections=CONNECTIONS // len(servers),
                    on_received=on_received,
                    seed=seed,
                )
            )
            for seed, server in enumerate(servers)
        ]
        deadline = time.monotonic() + MAX_SECONDS
        while is_correct.total() < count and time.monotonic() < deadline:
            time.sleep(CHECK_SECONDS)
    lost = sum(client.count_lost() for client in clients)
    other = is_correct[False] + lost
    return {"asked": is_correct.total() + lost, "own": is_correct[True], "other": other}


def measure_isolation(models: Path, count: int) -> dict[str, Any]:
    """Count own answers of servers that form batches, and of one that does not.

    Args:
        models: Model repository.
        count: Number of requests to the servers that form batches.
    """
    pairs = draw_bodies(models)
    with (
        run_server(models, workers=2) as server,
        run_server(models, workers=1, max_delay=0.002) as waiting_server,
    ):
        batched = count_own_answers([server, waiting_server], pairs, count)
    config = "benchmarks.robustness.thread_worker_config"
    with run_server(models, workers=1, config=config) as thread_server:
        unbatched = count_own_answers([thread_server], pairs, count // 20)
    return {
        "two servers of three workers in all, with batches": batched,
        "threads without batches": unbatched,
    }
