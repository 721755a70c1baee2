"""The model: preprocessing, network and answers, in NumPy float32.

This is the reference. The exported graph, the self-test and every served answer are held to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.preprocess import Encoder, Encoding, Scaler
from trainer.data.records import Records
from trainer.data.tables import Table, Task
from trainer.nn import Embedding, Layer, Loss, Network, embedding_width
from trainer.training.batches import TrainingRows

Answers = dict[str, NDArray[Any]]

SLICE = 2**16  # records answered in one go


@dataclass(frozen=True)
class Model:
    """A network between the records and the answers.

    Attributes:
        task: what is answered.
        encoder: makes network inputs of records.
        network: its logits are read according to the task.
        loss: what it learns by, and whose link makes answers of logits.
        targets: for regression of values, standardises them for the network; else None.
        logarithmic: whether it is the targets' logarithms that are standardised.
        classes: for classification, sorted, int64 or str `(n_classes,)`; else None.
        threshold: a binary answer is the positive class where its probability is at least this.
        positive: place in `classes` of a binary model's positive class; other tasks have none.
        temperature: what a classifier's logits are divided by, for probabilities that can be taken
            at their word.
        logit_bias: Bias added to the divided logits, float32 `(n_logits,)`; None for zeros.
    """

    task: Task
    encoder: Encoder
    network: Network
    loss: Loss
    targets: Scaler | None = None
    classes: NDArray[Any] | None = None
    logarithmic: bool = False
    threshold: float = 0.5
    positive: int = 1
    temperature: float = 1.0
    logit_bias: NDArray[np.float32] | None = None

    @classmethod
    def untrained(
        cls,
        table: Table,
        train: NDArray[np.int64],
        *,
        layers: Callable[[int], Sequence[Layer]],
        loss: Loss,
        rng: np.random.Generator,
        encoding: Encoding | None = None,
        logarithmic: bool = False,
    ) -> Model:
        """A model for `table` with fresh weights.

        Args:
            table: what it is to learn.
            train: the rows its statistics come from.
            layers: given the number of logits, the layers; embeddings are put before them.
            loss: what it learns by.
            rng: where the weights are drawn from.
            encoding: of the columns.
            logarithmic: learn values, all above 0, by their logarithms: sizes rather than
                differences.
        """
        classes = targets = None
        if table.task == "regression":
            if loss.link == "identity":
                known = table.target[train]
                targets = Scaler.fit(np.log(known) if logarithmic else known)
            n_outputs = table.target.shape[1]
        else:
            classes = np.unique(table.target)
            n_outputs = 1 if table.task == "binary" else len(classes)
        encoder = Encoder.fit(table.records, train, encoding)
        sizes = [categories.size for categories in encoder.embedded_categories]
        lookup = [Embedding(sizes, [embedding_width(n) for n in sizes])] if sizes else []
        return cls(
            task=table.task,
            encoder=encoder,
            network=Network(encoder.width, [*lookup, *layers(n_outputs)], rng=rng),
            loss=loss,
            targets=targets,
            classes=classes,
            logarithmic=logarithmic,
        )

    @property
    def positive_class(self) -> int | str | None:
        """The class that a binary model answers from the threshold up; None for other tasks."""
        if self.task != "binary" or self.classes is None:
            return None
        found: int | str = self.classes[self.positive].item()
        return found

    @property
    def exponential(self) -> bool:
        """Whether a value is the exponential of what the network says."""
        return self.logarithmic or self.loss.link == "exp"

    def rows(self, table: Table, numbers: NDArray[np.int64]) -> TrainingRows:
        """Those rows of the table, as the network and the loss take them."""
        features = self.encoder.transform(table.records.take(numbers))
        target = table.target[numbers]
        if self.targets is not None:
            return TrainingRows(
                features, self.targets.transform(np.log(target) if self.logarithmic else target)
            )
        if self.task == "regression":
            return TrainingRows(features, target.astype(np.float32))
        indices = np.searchsorted(self.classes, target)  # type: ignore[arg-type]
        if self.task == "binary":
            return TrainingRows(features, indices.astype(np.float32)[:, None])
        return TrainingRows(features, indices)

    def logits(self, records: Records) -> NDArray[np.float32]:
        """What the network makes of records, before any calibration: `(n, n_outputs)`."""
        logits = [
            self.network.logits(self.encoder.transform(records.take(slice(start, start + SLICE))))
            for start in range(0, max(len(records), 1), SLICE)
        ]
        return logits[0] if len(logits) == 1 else np.concatenate(logits)

    def answers(self, records: Records) -> Answers:
        """The answers to records, none or more of them, named as the graph's outputs.

        Returns:
            For classification `label`, of the classes' type, `(n,)`, and `probabilities`, float32
            `(n, n_classes)`; for regression `value`, float32 `(n, n_targets)`, in original units.
        """
        logits = self.logits(records)
        if self.temperature != 1:
            logits /= np.float32(self.temperature)
        if self.logit_bias is not None:
            logits += self.logit_bias
        outputs = self.loss.answers(logits)
        if self.task == "regression":
            value = outputs if self.targets is None else self.targets.inverse(outputs)
            if self.logarithmic:
                with np.errstate(over="ignore"):  # who judges or serves it looks for infinity
                    value = np.exp(value)
            return {"value": value}
        if self.task == "binary":
            # Not 1 − p, whose digits are gone where p is near 1.
            outputs = np.concatenate([self.loss.answers(-logits), outputs], axis=1)
            above = outputs[:, self.positive] >= np.float32(self.threshold)
            choice = np.where(above, self.positive, 1 - self.positive)
        else:
            choice = outputs.argmax(axis=1)
        return {"label": self.classes[choice], "probabilities": outputs}  # type: ignore[index]
