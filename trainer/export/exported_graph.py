"""A model as an exported ONNX graph that has been compared with the model and evaluated."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from serving import bundle
from serving.runtime import TIMED_BATCH_SIZES, GraphSession, measure_latencies
from trainer.data.records import Records
from trainer.data.splits import Split, subsample
from trainer.data.tables import Table
from trainer.evaluate import Evaluation
from trainer.export.onnx_graph import build_graph
from trainer.export.parity import check_parity
from trainer.model import Model

MAX_PARITY_ROWS = 20_000  # test rows


@dataclass(frozen=True)
class ExportedGraph:
    """An exported graph with what the manifest says about it, except its latency.

    Attributes:
        content: The ONNX file.
        session: Session of the graph.
        parity: Differences between the answers of the graph and of the model.
        test_evaluation: Evaluation of the model on the test rows.
        threshold: Probability from which the positive class is predicted; None if the task is not
            binary.
        bits: Number of bits of a weight.
    """

    content: bytes
    session: GraphSession
    parity: bundle.Parity
    test_evaluation: Evaluation
    threshold: float | None
    bits: Literal[4, 7, 8, 32] = 32

    @classmethod
    def build(
        cls,
        model: Model,
        table: Table,
        split: Split,
        synthetic: Records,
        bits: Literal[4, 7, 8, 32] = 32,
    ) -> ExportedGraph:
        """Build the graph of a model, compare it with the model and evaluate the model.

        Args:
            model: The model.
            table: The table that it was trained on.
            split: Rows of the table for training, validation and test.
            synthetic: Random and extreme records for the comparison.
            bits: Number of bits of a weight.

        Raises:
            ParityError: If the graph does not answer as the model.
        """
        content = build_graph(model)
        session = GraphSession(content)
        held_out = table.records.take(subsample(split.test, MAX_PARITY_ROWS))
        parity = check_parity(model, session, held_out, synthetic)
        test_evaluation = Evaluation.from_model(model, table, split.test)
        threshold = model.threshold if model.task == "binary" else None
        return cls(content, session, parity, test_evaluation, threshold, bits)

    def describe_variant(self, file: str, latency_us: Mapping[str, float]) -> bundle.Variant:
        """Return the variant for the manifest.

        Args:
            file: Name of the ONNX file in the bundle.
            latency_us: Median latency by batch size, in µs; see `measure_latency`.
        """
        return bundle.Variant(
            file=file,
            sha256=compute_sha256(self.content),
            size_bytes=len(self.content),
            metrics=self.test_evaluation.compute_metrics(),
            parity=self.parity,
            latency_us=dict(latency_us),
            bits=self.bits,
            threshold=self.threshold,
            never_answered=self.test_evaluation.list_never_predicted(),
        )


def measure_latency(graph: ExportedGraph, table: Table, split: Split) -> dict[str, float]:
    """Return the median duration of one run on test rows, in µs, by batch size."""
    inputs = table.records.take(split.test[: max(TIMED_BATCH_SIZES)]).inputs()
    latencies = measure_latencies({"graph": graph.session}, inputs)["graph"]
    return {str(batch_size): latency_us for batch_size, latency_us in latencies.items()}


def compute_sha256(content: bytes) -> str:
    """Return the SHA-256 of a file as the manifest writes it, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()
