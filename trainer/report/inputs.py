"""The inputs of a report: the bundle, its self-tests, its training run and its test rows."""

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

REFERENCE_VARIANT = "fp32"  # the variant that answers the test rows


@dataclass(frozen=True)
class EvaluatedRows:
    """Test rows with their true values and the answers of the graph.

    Attributes:
        session: Session with the graph, in the runtime that serves it.
        task: Type of the target: `binary`, `multiclass` or `regression`.
        records: Columns of the n rows.
        truth: True classes, int64 or str `(n,)`, or true values, float64 `(n, n_targets)`.
        answers: Answers by the names of the graph's outputs: `label` `(n,)` and `probabilities`
            float32 `(n, n_classes)`, or `value` float32 `(n, n_targets)`.
        classes: Classes in the order of the manifest, `(n_classes,)`; None for regression.
        targets: Names of the target columns.
        positive_index: Index of the positive class of a binary classifier.
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
        """The classes of a classifier, `(n_classes,)`.

        Raises:
            TypeError: If the model is a regression.
        """
        if self.classes is None:
            raise TypeError("expected the answers of a classifier; got values")
        return self.classes

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Probabilities of the classes, float64 `(n, n_classes)`, scaled to row sums of 1."""
        p = self.answers["probabilities"].astype(np.float64)
        probabilities: NDArray[np.float64] = p / p.sum(axis=1, keepdims=True)
        return probabilities

    @property
    def true_probabilities(self) -> NDArray[np.float64]:
        """Probability of the true class of each row, float64 `(n,)`."""
        indices = np.searchsorted(self.class_labels, self.truth)
        probabilities: NDArray[np.float64] = self.probabilities[np.arange(len(self)), indices]
        return probabilities

    @property
    def is_correct(self) -> NDArray[np.bool_]:
        """Whether the label equals the true class, bool `(n,)`."""
        is_correct: NDArray[np.bool_] = self.answers["label"] == self.truth
        return is_correct

    @property
    def errors(self) -> NDArray[np.float64]:
        """Predicted minus true values, float64 `(n, n_targets)`."""
        errors: NDArray[np.float64] = self.answers["value"].astype(np.float64) - self.truth
        return errors

    def take(self, indices: NDArray[np.int64]) -> EvaluatedRows:
        """Return the rows with these indices, int64 `(m,)`."""
        answers = {name: array[indices] for name, array in self.answers.items()}
        return EvaluatedRows(
            self.session,
            self.task,
            self.records.take(indices),
            self.truth[indices],
            answers,
            self.classes,
            self.targets,
            self.positive_index,
        )


@dataclass(frozen=True)
class ReportInputs:
    """Everything that a report is made from.

    Attributes:
        bundle: The version of the model that the report is about.
        self_tests: Self-test results of all variants on this machine.
        run: Archived training run of the bundle, or the run of an earlier version with the same
            graph; None if there is neither.
        test_rows: Test rows of the run with the answers of the graph; None without a run.
        run_error: Reason why there is no run; empty if there is one.
    """

    bundle: Bundle
    self_tests: tuple[SelfTestResult, ...]
    run: RunFolder | None
    test_rows: EvaluatedRows | None
    run_error: str = ""

    @property
    def manifest(self) -> Manifest:
        """The manifest of the bundle."""
        return self.bundle.manifest

    @classmethod
    def gather(cls, bundle: Bundle, runs: Path) -> ReportInputs:
        """Run the self-tests, find the run of the bundle and answer its test rows.

        Args:
            bundle: A version of a model.
            runs: Folder of the archived runs.

        Raises:
            BundleError: If a file of the bundle is missing or was changed.
            GraphError: If the graph cannot be loaded or run.
        """
        manifest = bundle.manifest
        self_tests = tuple(run_self_test(bundle, variant) for variant in manifest.variants)
        try:
            run = find_run(runs, manifest)
        except RunError as error:
            return cls(bundle, self_tests, None, None, str(error))
        session = GraphSession(bundle.read_graph(REFERENCE_VARIANT))
        return cls(bundle, self_tests, run, _evaluate_test_rows(run, manifest, session))


def _evaluate_test_rows(run: RunFolder, manifest: Manifest, session: GraphSession) -> EvaluatedRows:
    """Return the test rows of a run with the answers of the graph."""
    positive = manifest.positive_class
    return EvaluatedRows(
        session,
        manifest.task,
        run.records,
        run.truth,
        session.run(run.records.inputs()),
        None if manifest.classes is None else np.asarray(manifest.classes),
        tuple(manifest.data.target),
        1 if positive is None else [*(manifest.classes or ())].index(positive),
    )
