"""Hundreds of swaps of versions, under load, against a real server with two workers.

Versions appear, are rolled back and loaded again while clients ask without a pause. No request may
fail; each answer must be that of the version it names, as NumPy computes it; all workers must agree
within a second; and the workers' memory must stay where it is. That the last is noticed at all, a
server that keeps every session shows (`leaking.py`).

    python -m benchmarks.robustness.swaps --swaps 300
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from sklearn.datasets import load_digits

from benchmarks.admin_key import ADMIN_HEADERS, write_keys_file

ROOT = Path(__file__).parents[2]
BASE = ROOT / "models" / "digits" / "1"
CLIENTS, REQUESTS_A_CONNECTION = 4, 25  # connections are made anew, so that both workers are met
BODIES, ROWS = 16, 4
TOLERANCE = 1e-5  # of a probability; those of two versions are farther apart, and it is checked
SETTLED = 0.3  # seconds without an answer of the version before
PATIENCE = 120.0  # seconds after which a swap or a start is taken for hung
KEPT = 200  # lines of a server's log
# KiB that two workers may grow by in a swap: a kept session of this small model is 10 times that.
FLAT = 20.0


class Version:
    """The embedded default with other weights: its answers, by NumPy, and its folder.

    Args:
        number: of the version; also the seed of its weights.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.graph = onnx.load_from_string((BASE / "model.onnx").read_bytes())
        rng = np.random.default_rng(number)
        for tensor in self.graph.graph.initializer:
            if tensor.name in ("W1", "W2"):
                weights = numpy_helper.to_array(tensor)
                moved = rng.normal(0, weights.std(), weights.shape).astype(np.float32)
                tensor.CopyFrom(numpy_helper.from_array(moved, tensor.name))
        self._weights = {t.name: numpy_helper.to_array(t) for t in self.graph.graph.initializer}

    def answers(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities float32 (n, 10) of rows float32 (n, 64)."""
        w = self._weights
        hidden = np.maximum((rows - w["offset"]) / w["scale"] @ w["W1"] + w["b1"], 0)
        logits = hidden @ w["W2"] + w["b2"]
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities: NDArray[np.float32] = powers / powers.sum(axis=1, keepdims=True)
        return probabilities

    def write(self, folder: Path) -> Path:
        """Its bundle, in `folder`, not yet where a server looks."""
        path = folder / str(self.number)
        shutil.copytree(BASE, path)
        manifest = json.loads((path / "bundle.json").read_text())
        graph = self.graph.SerializeToString()
        (path / "model.onnx").write_bytes(graph)
        with np.load(path / "selftest.npz") as file:
            arrays = dict(file)
        probabilities = self.answers(arrays["input/features"])
        arrays["expected/fp32/probabilities"] = probabilities
        classes = np.array(manifest["classes"])
        arrays["expected/fp32/label"] = classes[probabilities.argmax(axis=1)]
        arrays["tolerance/fp32/probabilities"] = np.full_like(probabilities, 1e-5)
        np.savez(path / "selftest.npz", **arrays)
        manifest["version"] = self.number
        fp32 = manifest["variants"]["fp32"]
        fp32 |= {"sha256": hashlib.sha256(graph).hexdigest(), "size_bytes": len(graph)}
        manifest["variants"] = {"fp32": fp32}
        selftest = (path / "selftest.npz").read_bytes()
        manifest["files"]["selftest.npz"] = hashlib.sha256(selftest).hexdigest()
        (path / "bundle.json").write_text(json.dumps(manifest))
        return path


@dataclass
class Crowd:
    """Clients that ask without a pause, and compare each answer with that of its version.

    Attributes:
        port: of the server.
        versions: all that may answer.
        answers: of each request when it was sent and answered, and the version that it names.
        faults: whatever went wrong.
    """

    port: int
    versions: dict[int, Version]
    answers: list[tuple[float, float, int]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        digits = load_digits().data.astype(np.float32)
        self._rows = digits[: BODIES * ROWS].reshape(BODIES, ROWS, 64)
        self._bodies = [json.dumps({"instances": rows.tolist()}) for rows in self._rows]
        self._expected: dict[int, NDArray[np.float32]] = {}
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(i,)) for i in range(CLIENTS)]

    def add(self, version: Version) -> None:
        """A version that may answer from here on."""
        expected = np.stack([version.answers(rows) for rows in self._rows])
        for other in self._expected.values():  # else a mixed answer would pass
            if np.abs(other - expected).max(axis=(1, 2)).min() < 100 * TOLERANCE:
                raise AssertionError(f"expected versions that differ; got {version.number} twice")
        self.versions[version.number] = version
        self._expected[version.number] = expected

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int) -> None:
        rng, connection, asked = np.random.default_rng(number), self._connection(), 0
        while not self._stop.is_set():
            if asked == REQUESTS_A_CONNECTION:
                connection.close()
                connection, asked = self._connection(), 0
            which, sent = int(rng.integers(BODIES)), time.monotonic()
            try:
                headers = {"Content-Type": "application/json"} | ADMIN_HEADERS
                connection.request("POST", "/predict", self._bodies[which], headers)
                answer = connection.getresponse()
                content = answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.faults.append(f"failed: {error!r}")
                connection.close()
                connection, asked = self._connection(), 0
                continue
            asked += 1
            self._check(which, answer.status, content, sent)
        connection.close()

    def _check(self, which: int, status: int, content: bytes, sent: float) -> None:
        if status != 200:
            self.faults.append(f"failed: {status} {content[:200]!r}")
            return
        found = json.loads(content)
        expected = self._expected[found["version"]][which]
        difference = np.abs(np.array(found["probabilities"]) - expected).max()
        if difference > TOLERANCE or found["predictions"] != expected.argmax(axis=1).tolist():
            self.faults.append(f"mixed: not version {found['version']}, by {difference:.1e}")
        self.answers.append((sent, time.monotonic(), found["version"]))

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)


@dataclass
class Swap:
    """What a swap took.

    Attributes:
        kind: how it came about.
        first: seconds from its cause to the first answer of the new version.
        disagreement: seconds from that to the last request that the old version answered.
        memory: KiB of the workers, thereafter.
    """

    kind: str
    first: float
    disagreement: float
    memory: int


def swap(
    crowd: Crowd,
    master: int,
    kind: str,
    cause: Callable[[], Any],
    old: int,
    new: int,
    settled: float = SETTLED,
) -> Swap:
    """Cause a swap, and wait until all workers have made it."""
    begin, place = time.monotonic(), len(crowd.answers)
    cause()
    while True:
        time.sleep(0.02)
        answers = crowd.answers[place:]
        firsts = [end for sent, end, version in answers if version == new and sent >= begin]
        now = time.monotonic()
        if firsts:
            lasts = [sent for sent, _, version in answers if version == old]
            last = max(lasts, default=begin)
            if now - last > settled and now - min(firsts) > settled:
                break
        if now - begin > PATIENCE:
            raise AssertionError(f"expected version {new} to answer; got none: {crowd.faults[:3]}")
    disagreement = max(0.0, last - min(firsts))
    return Swap(kind, min(firsts) - begin, disagreement, memory(master))


def memory(master: int) -> int:
    """KiB of a server's workers, their share of what they share included (PSS)."""
    children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in children]
    return sum(int(re.findall(r"^Pss: +(\d+)", rollup, re.MULTILINE)[0]) for rollup in rollups)


def growth(swaps: list[Swap]) -> float:
    """KiB a swap, as most pairs of swaps have it; the first fifth, the warm-up, left out.

    The Theil-Sen slope, https://en.wikipedia.org/wiki/Theil-Sen_estimator: a single jump, as of an
    allocator that takes a block, is no slope.
    """
    sizes = [found.memory for found in swaps[len(swaps) // 5 :]]
    slopes = [
        (sizes[j] - sizes[i]) / (j - i) for i in range(len(sizes)) for j in range(i + 1, len(sizes))
    ]
    return statistics.median(slopes)


@contextmanager
def server(
    models: Path, config: str = "serving.server.gunicorn_conf", poll: float = 1
) -> Iterator[tuple[int, int]]:
    """The process and the port of a server of two workers, as `serving run` starts it."""
    environment = os.environ | {
        "FORWARDPASS_MODELS": str(models),
        "FORWARDPASS_PORT": "0",
        "FORWARDPASS_WORKERS": "2",
        "FORWARDPASS_POLL": str(poll),
        "FORWARDPASS_KEYS": str(write_keys_file(models.parent)),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "gunicorn", "--config", f"python:{config}"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    said: deque[str] = deque(maxlen=KEPT)
    ports: list[int] = []
    booted = threading.Event()

    def read() -> None:
        workers = 0
        for line in process.stdout or ():
            said.append(line)
            if booted.is_set():  # a line a request: more than a glance would be late for the next
                continue
            ports.extend(map(int, re.findall(r"Listening at: http://[^\s:]+:(\d+)", line)))
            workers += "serving digits/" in line
            if workers >= 2:
                booted.set()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        if not booted.wait(PATIENCE):
            raise AssertionError("the server did not start: " + "".join(said))
        yield process.pid, ports[0]
    finally:
        process.terminate()
        process.wait(PATIENCE)
        reader.join()
        if process.stdout is not None:
            process.stdout.close()


def run(
    count: int,
    config: str = "serving.server.gunicorn_conf",
    poll: float = 1,
    settled: float = SETTLED,
) -> tuple[list[Swap], Crowd]:
    """So many swaps against a server, and what its clients saw.

    Args:
        count: Number of swaps.
        config: Module of gunicorn's settings.
        poll: Seconds between two looks of the server at its models.
        settled: Seconds without an answer of the version before that end a swap.
    """
    with tempfile.TemporaryDirectory() as folder:
        models, staging = Path(folder) / "models" / "digits", Path(folder) / "staging"
        models.mkdir(parents=True)
        swaps: list[Swap] = []
        for number in (1, 2):
            Version(number).write(staging).rename(models / str(number))
        with server(models.parent, config, poll) as (master, port):
            crowd = Crowd(port, {})
            for number in (1, 2):
                crowd.add(Version(number))
            answers, highest = 2, 2
            with crowd:
                while len(swaps) < count:
                    kind = ("rollback", "load", "appears")[len(swaps) % 3]
                    old, answers = answers, highest - 1 if kind == "rollback" else highest
                    cause: Callable[[], Any] = partial(post, port, kind)
                    if kind == "appears":
                        version = Version(highest := highest + 1)
                        crowd.add(version)
                        path, answers = version.write(staging), highest
                        cause = partial(path.rename, models / path.name)
                    swaps.append(swap(crowd, master, kind, cause, old, answers, settled))
        return swaps, crowd


def post(port: int, what: str) -> dict[str, Any]:
    """Ask the repository for something."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request("POST", f"/v2/repository/models/digits/{what}", headers=ADMIN_HEADERS)
    answer = connection.getresponse()
    found: dict[str, Any] = json.loads(answer.read())
    connection.close()
    if answer.status != 200:
        raise AssertionError(f"expected {what} to be done; got {answer.status}: {found}")
    return found


def tell(title: str, swaps: list[Swap], crowd: Crowd) -> str:
    """A paragraph on a run."""
    lines = [
        f"{title}: {len(swaps)} swaps of {len(crowd.versions)} versions, {len(crowd.answers):,} "
        f"requests; {sum(f.startswith('failed') for f in crowd.faults)} failed, "
        f"{sum(f.startswith('mixed') for f in crowd.faults)} mixed",
        *(f"  {fault}" for fault in crowd.faults[:5]),
    ]
    for kind in ("appears", "rollback", "load"):
        firsts = [found.first for found in swaps if found.kind == kind]
        if firsts:
            lines.append(
                f"  {kind}: new answers after {statistics.median(firsts):.2f} s, {max(firsts):.2f} "
                f"at most"
            )
    apart = [found.disagreement for found in swaps]
    waits = sorted(end - sent for sent, end, _ in crowd.answers)
    lines += [
        f"  workers disagree for {statistics.median(apart) * 1000:.0f} ms, "
        f"{max(apart) * 1000:.0f} ms at most",
        f"  a request takes {waits[len(waits) // 2] * 1000:.1f} ms, p99 "
        f"{waits[len(waits) * 99 // 100] * 1000:.0f} ms, {waits[-1] * 1000:.0f} ms at most",
        f"  memory of both workers (PSS): {swaps[0].memory / 1024:.0f} MiB first, "
        f"{swaps[-1].memory / 1024:.0f} MiB last, {growth(swaps):+.1f} KiB a swap",
    ]
    return "\n".join(lines)


def main() -> None:
    """Swap, tell, and fail if anything was amiss."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--swaps", type=int, default=300)
    asked = parser.parse_args()
    swaps, crowd = run(asked.swaps)
    sys.stdout.write(tell("the server", swaps, crowd) + "\n")
    leaks, leaking = run(asked.swaps // 3, "benchmarks.robustness.leaking_config")
    sys.stdout.write(tell("one that leaks", leaks, leaking) + "\n")
    flat, caught = growth(swaps) < FLAT, growth(leaks) >= FLAT
    agreed = max(found.disagreement for found in swaps) <= 1
    if crowd.faults or not (flat and caught and agreed):
        raise SystemExit(
            "expected no fault, no growth, a leak that is caught, and agreement in 1 s"
        )


if __name__ == "__main__":
    main()
