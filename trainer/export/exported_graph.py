"""A variant: one graph of a bundle, built, held to its model, judged and timed."""

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

COMPARED = 20_000  # held-out rows on which parity is checked, at most


@dataclass(frozen=True)
class ExportedGraph:
    """A model as a file, and what the manifest says of it but for its speed.

    Attributes:
        content: the ONNX file.
        session: it, loaded.
        parity: how far its answers are from the model's, on the test rows and on synthetic ones.
        test_evaluation: what the model answers to the test rows.
        threshold: Least probability at which the positive class is answered; None unless binary.
        bits: of a weight.
    """

    content: bytes
    session: GraphSession
    parity: bundle.Parity
    test_evaluation: Evaluation
    threshold: float | None
    bits: Literal[4, 7, 8, 32] = 32

    @classmethod
    def of(
        cls,
        model: Model,
        table: Table,
        parts: Split,
        synthetic: Records,
        bits: Literal[4, 7, 8, 32] = 32,
    ) -> ExportedGraph:
        """Build it, hold it to the model, judge the model.

        Raises:
            ParityError: the graph does not answer as the model does.
        """
        content = build_graph(model)
        session = GraphSession(content)
        held_out = table.records.take(subsample(parts.test, COMPARED))
        parity = check_parity(model, session, held_out, synthetic)
        tested = Evaluation.from_model(model, table, parts.test)
        threshold = model.threshold if model.task == "binary" else None
        return cls(content, session, parity, tested, threshold, bits)

    def described(self, file: str, latency_us: Mapping[str, float]) -> bundle.Variant:
        """The graph as the manifest describes it, once it has been timed."""
        return bundle.Variant(
            file=file,
            sha256=sha256(self.content),
            size_bytes=len(self.content),
            metrics=self.test_evaluation.compute_metrics(),
            parity=self.parity,
            latency_us=dict(latency_us),
            bits=self.bits,
            threshold=self.threshold,
            never_answered=self.test_evaluation.list_never_predicted(),
        )


def latency(graph: ExportedGraph, table: Table, parts: Split) -> dict[str, float]:
    """Median µs of one run, by batch size."""
    inputs = table.records.take(parts.test[: max(TIMED_BATCH_SIZES)]).inputs()
    return {
        str(size): found
        for size, found in measure_latencies({"it": graph.session}, inputs)["it"].items()
    }


def sha256(content: bytes) -> str:
    """Of a file, as the manifest names it."""
    return hashlib.sha256(content).hexdigest()
