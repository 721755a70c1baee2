"""Train a network with one library on request; a process of `steps_per_second.py`.

    python -m benchmarks.training.library_process LIBRARY

LIBRARY is ours, ours-numpy, products, torch-eager, torch-fused or sklearn.

Reads a case as a line of JSON and prepares it. Then reads numbers of seconds, trains for about that
long each time, and answers with the number of steps and the time that they took. An empty line ends
it.
"""

import itertools
import json
import math
import resource
import sys
import time
import warnings


def draw_data(case):
    """Return rows float32 `(rows, inputs)` and classes int64 `(rows,)`, alike for all libraries."""
    import numpy as np

    rng = np.random.default_rng(0)
    rows = rng.normal(size=(case["rows"], case["widths"][0])).astype(np.float32)
    return rows, rng.integers(0, case["widths"][-1], case["rows"])


class OurTraining:
    """The loop of `trainer.training`, which includes shuffling and gathering of the batches."""

    def __init__(self, case, *, is_compiled):
        import numpy as np

        from trainer.nn import Adam, CategoricalCrossEntropy, Dense, Network, kernels
        from trainer.training.batches import TrainingRows
        from trainer.training.loop import TrainingRun
        from trainer.training.update import UpdateRule

        kernels.AVAILABLE = kernels.AVAILABLE and is_compiled
        x, y = draw_data(case)
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

    def run_epoch(self):
        """Train for one epoch, and return the number of steps."""
        before = self.run.steps
        self.run.epochs += 1
        self.run.run()
        return self.run.steps - before


class MatrixProducts:
    """Only the matrix products of a step, by NumPy's BLAS: the limit of any loop over NumPy."""

    def __init__(self, case):
        import numpy as np

        def draw(*shape):
            return np.random.default_rng(0).normal(size=shape).astype(np.float32)

        widths, batch = case["widths"], case["batch"]
        self.steps, self.dot = math.ceil(case["rows"] / batch), np.dot
        self.weights = [draw(i, o) for i, o in itertools.pairwise(widths)]
        # Products are written to other arrays than they are read from, so that the numbers stay
        # the same and do not overflow.
        self.inputs = [draw(batch, width) for width in widths]
        self.outputs = [np.empty_like(values) for values in self.inputs]
        self.gradients = [np.empty_like(W) for W in self.weights]

    def run_epoch(self):
        """Compute the products of one epoch, and return the number of steps."""
        last = len(self.weights) - 1
        for _ in range(self.steps):
            for i, W in enumerate(self.weights):
                self.dot(self.inputs[i], W, out=self.outputs[i + 1])
            for i in range(last, -1, -1):
                self.dot(self.inputs[i].T, self.inputs[i + 1], out=self.gradients[i])
                if i:
                    self.dot(self.inputs[i + 1], self.weights[i].T, out=self.outputs[i])
        return self.steps


class TorchTraining:
    """A PyTorch loop over tensors in memory, which is faster than a DataLoader."""

    def __init__(self, case, *, is_fused):
        import torch

        torch.manual_seed(0)
        self.torch, self.batch = torch, case["batch"]
        x, y = draw_data(case)
        self.x, self.y = torch.from_numpy(x), torch.from_numpy(y)
        layers, widths = [], case["widths"]
        for i, o in itertools.pairwise(widths):
            layers += [torch.nn.Linear(i, o), torch.nn.ReLU()]
        self.model = torch.nn.Sequential(*layers[:-1])
        self.adam = torch.optim.Adam(self.model.parameters(), lr=1e-4, fused=is_fused)
        self.loss = torch.nn.functional.cross_entropy

    def run_epoch(self):
        """Train for one epoch, and return the number of steps."""
        steps = 0
        for batch in self.torch.randperm(len(self.x)).split(self.batch):
            self.adam.zero_grad()
            self.loss(self.model(self.x[batch]), self.y[batch]).backward()
            self.adam.step()
            steps += 1
        return steps


class SklearnTraining:
    """scikit-learn's `MLPClassifier.fit` for one epoch with `warm_start`."""

    def __init__(self, case):
        from sklearn.neural_network import MLPClassifier

        warnings.simplefilter("ignore")  # each epoch warns that training has not converged
        self.x, self.y = draw_data(case)
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

    def run_epoch(self):
        """Train for one epoch, and return the number of steps."""
        self.model.fit(self.x, self.y)
        return self.steps


LIBRARIES = {
    "ours": lambda case: OurTraining(case, is_compiled=True),
    "ours-numpy": lambda case: OurTraining(case, is_compiled=False),
    "products": MatrixProducts,
    "torch-eager": lambda case: TorchTraining(case, is_fused=False),
    "torch-fused": lambda case: TorchTraining(case, is_fused=True),
    "sklearn": SklearnTraining,
}


def print_answer(value):
    print(json.dumps(value), flush=True)


def main():
    training = LIBRARIES[sys.argv[1]](json.loads(sys.stdin.readline()))
    training.run_epoch()  # fills buffers and caches, and compiles kernels
    print_answer("ready")
    for line in sys.stdin:
        if not line.strip():
            break
        start, steps = time.perf_counter(), 0
        while time.perf_counter() - start < float(line):
            steps += training.run_epoch()
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        seconds = time.perf_counter() - start
        print_answer({"steps": steps, "seconds": seconds, "peak_mb": peak_mb})


if __name__ == "__main__":
    main()
