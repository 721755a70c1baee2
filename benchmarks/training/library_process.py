"""One side of the training benchmark: trains a network of one library on demand.

    python train_side.py {ours,ours-numpy,products,torch-eager,torch-fused,sklearn}

Reads a case as a line of JSON, prepares it; then reads numbers of seconds, trains for about so
long each time, and answers how many steps that were and how long they took. An empty line ends it.
"""

import itertools
import json
import math
import resource
import sys
import time
import warnings


def data(case):
    """Rows float32 `(rows, first width)` and classes int64 `(rows,)`, the same on every side."""
    import numpy as np

    rng = np.random.default_rng(0)
    rows = rng.normal(size=(case["rows"], case["widths"][0])).astype(np.float32)
    return rows, rng.integers(0, case["widths"][-1], case["rows"])


class Ours:
    """The training loop of `trainer.training`, shuffling and gathering included."""

    def __init__(self, case, *, compiled):
        import numpy as np

        from trainer.nn import Adam, CategoricalCrossEntropy, Dense, Network, kernels
        from trainer.training.batches import TrainingRows
        from trainer.training.loop import TrainingRun
        from trainer.training.update import UpdateRule

        kernels.AVAILABLE = kernels.AVAILABLE and compiled
        x, y = data(case)
        n_in, *hidden, n_out = case["widths"]
        layers = [*(Dense(units, "relu") for units in hidden), Dense(n_out)]
        rng = np.random.default_rng(0)
        self.run = TrainingRun(
            Network(n_in, layers, rng=rng),
            CategoricalCrossEntropy(),
            UpdateRule(Adam(1e-4)),
            TrainingRows(x, y),
            epochs=1,
            batch_size=case["batch"],
            rng=rng,
        )

    def epoch(self):
        """One pass; returns its steps."""
        before = self.run.steps
        self.run.epochs += 1
        self.run.run()
        return self.run.steps - before


class Products:
    """The matrix products of a step and nothing else, by the BLAS that NumPy brings.

    What a step cannot be faster than in NumPy, whatever else it did for nothing.
    """

    def __init__(self, case):
        import numpy as np

        def numbers(*shape):
            return np.random.default_rng(0).normal(size=shape).astype(np.float32)

        widths, batch = case["widths"], case["batch"]
        self.steps, self.dot = math.ceil(case["rows"] / batch), np.dot
        self.weights = [numbers(i, o) for i, o in itertools.pairwise(widths)]
        # Read from one and written to the other, so that numbers stay as they are.
        self.read = [numbers(batch, width) for width in widths]
        self.written = [np.empty_like(values) for values in self.read]
        self.gradients = [np.empty_like(W) for W in self.weights]

    def epoch(self):
        """As many steps as a pass has; returns them."""
        last = len(self.weights) - 1
        for _ in range(self.steps):
            for i, W in enumerate(self.weights):
                self.dot(self.read[i], W, out=self.written[i + 1])
            for i in range(last, -1, -1):
                self.dot(self.read[i].T, self.read[i + 1], out=self.gradients[i])
                if i:
                    self.dot(self.read[i + 1], self.weights[i].T, out=self.written[i])
        return self.steps


class Torch:
    """A loop over tensors in memory, which is faster than a DataLoader."""

    def __init__(self, case, *, fused):
        import torch

        torch.manual_seed(0)
        self.torch, self.batch = torch, case["batch"]
        x, y = data(case)
        self.x, self.y = torch.from_numpy(x), torch.from_numpy(y)
        parts, widths = [], case["widths"]
        for i, o in itertools.pairwise(widths):
            parts += [torch.nn.Linear(i, o), torch.nn.ReLU()]
        self.model = torch.nn.Sequential(*parts[:-1])
        self.adam = torch.optim.Adam(self.model.parameters(), lr=1e-4, fused=fused)
        self.loss = torch.nn.functional.cross_entropy

    def epoch(self):
        """One pass; returns its steps."""
        steps = 0
        for chosen in self.torch.randperm(len(self.x)).split(self.batch):
            self.adam.zero_grad()
            self.loss(self.model(self.x[chosen]), self.y[chosen]).backward()
            self.adam.step()
            steps += 1
        return steps


class Sklearn:
    """MLPClassifier.fit of one epoch, warm."""

    def __init__(self, case):
        from sklearn.neural_network import MLPClassifier

        warnings.simplefilter("ignore")  # that one epoch has not converged
        self.x, self.y = data(case)
        self.steps = math.ceil(case["rows"] / case["batch"])
        self.model = MLPClassifier(
            hidden_layer_sizes=case["widths"][1:-1],
            batch_size=case["batch"],
            alpha=0,
            learning_rate_init=1e-4,
            max_iter=1,
            warm_start=True,
            random_state=0,
        )

    def epoch(self):
        """One pass; returns its steps."""
        self.model.fit(self.x, self.y)
        return self.steps


SIDES = {
    "ours": lambda case: Ours(case, compiled=True),
    "ours-numpy": lambda case: Ours(case, compiled=False),
    "products": Products,
    "torch-eager": lambda case: Torch(case, fused=False),
    "torch-fused": lambda case: Torch(case, fused=True),
    "sklearn": Sklearn,
}


def answer(value):
    print(json.dumps(value), flush=True)


side = SIDES[sys.argv[1]](json.loads(sys.stdin.readline()))
side.epoch()  # buffers, caches, kernels
answer("ready")
for line in sys.stdin:
    if not line.strip():
        break
    start, steps = time.perf_counter(), 0
    while (passed := time.perf_counter() - start) < float(line):
        steps += side.epoch()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    answer({"steps": steps, "seconds": time.perf_counter() - start, "peak_mb": peak})
