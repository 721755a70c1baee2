"""The model: preprocessing, network and answers, in NumPy float32.

This is the reference. The exported graph, the self-test and every served answer are held to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.preprocess import Scaler, Scaling
from trainer.data.tables import Table, Task
from trainer.fit.batches import Rows
from trainer.nn import Layer, Loss, Network

Answers = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Model:
    """A network between the raw features and the answers.

    Attributes:
        task: what is answered.
        features: scales raw rows for the network.
        network: its logits are read according to the task.
        loss: what it learns by, and whose link makes answers of logits.
        targets: for regression of values, standardises them for the network; else None.
        classes: for classification, sorted, int64 or str `(n_classes,)`; else None.
        threshold: a binary answer is the second class from this probability up.
    """

    task: Task
    features: Scaler
    network: Network
    loss: Loss
    targets: Scaler | None = None
    classes: NDArray[Any] | None = None
    threshold: float = 0.5

    @classmethod
    def untrained(
        cls,
        table: Table,
        train: NDArray[np.int64],
        *,
        layers: Callable[[int], Sequence[Layer]],
        loss: Loss,
        rng: np.random.Generator,
        scaling: Scaling = "standard",
    ) -> Model:
        """A model for `table` with fresh weights.

        Args:
            table: what it is to learn.
            train: the rows its statistics come from.
            layers: given the number of logits, the layers.
            loss: what it learns by.
            rng: where the weights are drawn from.
            scaling: of the features.
        """
        classes = targets = None
        if table.task == "regression":
            if loss.link == "identity":
                targets = Scaler.fit(table.target[train])
            n_outputs = table.target.shape[1]
        else:
            classes = np.unique(table.target)
            n_outputs = 1 if table.task == "binary" else len(classes)
        return cls(
            task=table.task,
            features=Scaler.fit(table.features[train], scaling),
            network=Network(table.features.shape[1], layers(n_outputs), rng=rng),
            loss=loss,
            targets=targets,
            classes=classes,
        )

    def rows(self, table: Table, numbers: NDArray[np.int64]) -> Rows:
        """Those rows of the table, as the network and the loss take them."""
        features = self.features.transform(table.features[numbers])
        target = table.target[numbers]
        if self.targets is not None:
            return Rows(features, self.targets.transform(target))
        if self.task == "regression":
            return Rows(features, target.astype(np.float32))
        indices = np.searchsorted(self.classes, target)  # type: ignore[arg-type]
        if self.task == "binary":
            return Rows(features, indices.astype(np.float32)[:, None])
        return Rows(features, indices)

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the network makes of raw rows: `(n, n_features)` to `(n, n_outputs)`."""
        return self.network.logits(self.features.transform(features))

    def answers(self, features: NDArray[np.float32]) -> Answers:
        """The answers for raw rows `(n, n_features)`, n ≥ 0, named as the graph's outputs.

        Returns:
            For classification `label`, of the classes' type, `(n,)`, and `probabilities`, float32
            `(n, n_classes)`; for regression `value`, float32 `(n, n_targets)`, in original units.
        """
        outputs = self.loss.answers(self.logits(features))
        if self.task == "regression":
            value = outputs if self.targets is None else self.targets.inverse(outputs)
            return {"value": value}
        if self.task == "binary":
            outputs = np.concatenate([1 - outputs, outputs], axis=1)
            choice = (outputs[:, 1] >= np.float32(self.threshold)).astype(np.int64)
        else:
            choice = outputs.argmax(axis=1)
        return {"label": self.classes[choice], "probabilities": outputs}  # type: ignore[index]
