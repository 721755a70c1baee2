"""A trial: one variant of the model that the search has tried, with its cost and its metric."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from serving.bundle import CompressionCandidate, MetricDrop
from trainer.compress.to_dense import list_members
from trainer.model import Model
from trainer.nn import Dense, Embedding, FeatureSelect, IntegerDense, Network, PeriodicEmbedding

Bits = Literal[4, 7, 8, 32]
SPARSE = "sparse"  # name of the variant of which single weights are 0


@dataclass(frozen=True, eq=False)
class Trial:
    """A variant that was tried. Two trials are equal only if they are the same object.

    Attributes:
        name: Name of the variant, such as `pruned-int8`.
        model: The NumPy reference of the graph.
        content: The ONNX file.
        bits: Bits of a weight: 4, 7, 8 or 32.
        n_parameters: Number of weights and biases in the file.
        metric_value: The metric on the validation rows.
        drop: The original model's metric minus this one's; above 0 if this model is worse.
            Default 0.
        standard_error: Standard error of the drop. Default 0.
        is_qat: Whether it was trained with quantization-aware training. Default False.
    """

    name: str
    model: Model
    content: bytes
    bits: Bits
    n_parameters: int
    metric_value: float
    drop: float = 0.0
    standard_error: float = 0.0
    is_qat: bool = False

    @property
    def hidden_units(self) -> list[int]:
        """Number of units of each hidden layer, those of all members together."""
        members = list_members(self.model.network)
        if members:
            return [len(members) * layer.units for layer in members[0][:-1]]
        layers = self.model.network.layers[:-1]
        return [layer.n_out for layer in layers if isinstance(layer, Dense | IntegerDense)]

    def to_candidate(
        self, latency_us: Mapping[int, float], *, test_drop: MetricDrop | None, is_kept: bool
    ) -> CompressionCandidate:
        """Return the trial as the manifest of the bundle lists it.

        Args:
            latency_us: Median duration of one run by batch size in rows, in microseconds.
            test_drop: Drop of the metric on the test rows; None if it was not measured.
            is_kept: Whether the new version has the variant.
        """
        return CompressionCandidate(
            name=self.name,
            bits=self.bits,
            qat=self.is_qat,
            inputs=_count_used_inputs(self.model.network),
            hidden=self.hidden_units,
            parameters=self.n_parameters,
            size_bytes=len(self.content),
            zipped_bytes=len(gzip.compress(self.content, mtime=0)),
            latency_us={str(size): microseconds for size, microseconds in latency_us.items()},
            validation=self.metric_value,
            drop=self.drop,
            error=self.standard_error,
            tested=test_drop,
            kept=is_kept,
        )


OnTrial = Callable[[Trial], None]


def count_stored_parameters(network: Network) -> int:
    """Return the number of weights and biases of a network, those of integer layers included."""
    integer_layers = [layer for layer in network.layers if isinstance(layer, IntegerDense)]
    n_integers = sum(layer.W.size + layer.b.size for layer in integer_layers)
    return network.n_parameters + n_integers


def _count_used_inputs(network: Network) -> int:
    """Return the number of inputs that the network does not ignore."""
    inputs = np.arange(network.n_inputs)
    for layer in network.layers:
        if isinstance(layer, PeriodicEmbedding | Embedding):
            inputs = inputs[layer.find_sources()]
        elif isinstance(layer, FeatureSelect):
            inputs = inputs[layer.columns]
    return len(np.unique(inputs))
