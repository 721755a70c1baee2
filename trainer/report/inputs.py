"""Evidence: what a page may speak of: a bundle and, where it was kept, the run it came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.bundle import Arrays, Bundle, Manifest
from serving.runtime import GraphSession, SelfTestResult, run_self_test
from trainer.data.records import Records
from trainer.data.tables import Task
from trainer.runs import RunError, RunFolder, find_run

REFERENCE_VARIANT = "fp32"  # the variant whose answers are looked at


@dataclass(frozen=True)
class EvaluatedRows:
    """Rows the model has never seen, their truth, and what its graph answers to them.

    Attributes:
        session: the graph, in the runtime that serves it.
        task: what is answered.
        records: the rows.
        truth: of the classes' type `(n,)`, or float64 `(n, n_targets)`.
        answers: named as the graph's outputs.
        classes: sorted as in the manifest; None for regression.
        targets: names of what is predicted.
        positive: place of the positive class among two classes.
    """

    session: GraphSession
    task: Task
    records: Records
    truth: NDArray[Any]
    answers: Arrays
    classes: NDArray[Any] | None
    targets: tuple[str, ...]
    positive_index: int = 1

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def class_labels(self) -> NDArray[Any]:
        """The classes, of a classifier.

        Raises:
            TypeError: it is none.
        """
        if self.classes is None:
            raise TypeError("expected the answers of a classifier; got values")
        return self.classes

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Of the classes, `(n, n_classes)`, each row of sum 1."""
        p = self.answers["probabilities"].astype(np.float64)
        found: NDArray[np.float64] = p / p.sum(axis=1, keepdims=True)
        return found

    @property
    def is_correct(self) -> NDArray[np.bool_]:
        """Whether the label is the truth, `(n,)`."""
        found: NDArray[np.bool_] = self.answers["label"] == self.truth
        return found

    @property
    def errors(self) -> NDArray[np.float64]:
        """Predicted less true, float64 `(n, n_targets)`."""
        found: NDArray[np.float64] = self.answers["value"].astype(np.float64) - self.truth
        return found

    def take(self, rows: NDArray[np.int64]) -> EvaluatedRows:
        """Those rows alone."""
        answers = {name: array[rows] for name, array in self.answers.items()}
        return EvaluatedRows(
            self.session,
            self.task,
            self.records.take(rows),
            self.truth[rows],
            answers,
            self.classes,
            self.targets,
            self.positive_index,
        )


@dataclass(frozen=True)
class ReportInputs:
    """What there is to look at.

    Attributes:
        bundle: the version the page is about.
        proofs: of each variant, what its self-test says on this machine.
        run: what was kept of its training, be it an earlier version's that led to the same graph;
            None if nothing was, or that of another bundle.
        judged: the rows of the run with the graph's answers; None without a run.
        absent: why there is no run; empty if there is one.
    """

    bundle: Bundle
    self_tests: tuple[SelfTestResult, ...]
    run: RunFolder | None
    test_rows: EvaluatedRows | None
    run_error: str = ""

    @property
    def manifest(self) -> Manifest:
        """The bundle's."""
        return self.bundle.manifest

    @classmethod
    def gather(cls, bundle: Bundle, runs: Path) -> ReportInputs:
        """Prove the bundle here, look for its run, and ask the graph.

        Args:
            bundle: of any version.
            runs: where runs are kept.

        Raises:
            BundleError: a file of the bundle is missing or was altered.
            GraphError: the graph does not load or does not answer.
        """
        manifest = bundle.manifest
        proofs = tuple(run_self_test(bundle, variant) for variant in manifest.variants)
        try:
            run = find_run(runs, manifest)
        except RunError as error:
            return cls(bundle, proofs, None, None, str(error))
        session = GraphSession(bundle.read_graph(REFERENCE_VARIANT))
        return cls(bundle, proofs, run, _evaluate_test_rows(run, manifest, session))


def _evaluate_test_rows(run: RunFolder, manifest: Manifest, session: GraphSession) -> EvaluatedRows:
    positive = manifest.positive_class
    place = 1 if positive is None else [*(manifest.classes or ())].index(positive)
    return EvaluatedRows(
        session,
        manifest.task,
        run.records,
        run.truth,
        session.run(run.records.inputs()),
        None if manifest.classes is None else np.asarray(manifest.classes),
        tuple(manifest.data.target),
        place,
    )
