"""The model: preprocessing, network and output scaling in NumPy float32, from records to answers.

It is the reference for the exported graph, the self-test and every served answer.
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
from trainer.nn import Embedding, Layer, Loss, Network, PeriodicEmbedding, embedding_width
from trainer.training.batches import TrainingRows

Answers = dict[str, NDArray[Any]]

SLICE = 2**16  # records of one forward pass


@dataclass(frozen=True)
class Model:
    """A network with the preprocessing before it and the output scaling after it.

    Attributes:
        task: Type of the target: `binary`, `multiclass` or `regression`.
        encoder: Preprocessing from records to inputs of the network.
        network: Network; `task` and `loss` define what its logits mean.
        loss: Loss of the training, whose link function maps logits to answers.
        target_scaler: Standardisation of the targets of a regression; None for classifiers and for
            losses with the link `exp`.
        classes: Sorted classes, int64 or str `(n_classes,)`; None for regression.
        has_log_target: Whether the network learns the logarithm of the target.
        threshold: Smallest probability of the positive class at which a binary model answers it.
        positive_index: Index of the positive class in `classes`, for binary models.
        temperature: Divisor of the logits of a classifier (temperature scaling); 1 for none.
        value_range: Lowest and highest target of the training rows, to which the values of a
            regression are clipped, float32 `(n_targets,)` each; None to predict any value.
        logit_bias: Bias added to the divided logits, float32 `(n_logits,)`; None for zeros.
    """

    task: Task
    encoder: Encoder
    network: Network
    loss: Loss
    target_scaler: Scaler | None = None
    classes: NDArray[Any] | None = None
    has_log_target: bool = False
    threshold: float = 0.5
    positive_index: int = 1
    temperature: float = 1.0
    logit_bias: NDArray[np.float32] | None = None
    value_range: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None

    @classmethod
    def build(
        cls,
        table: Table,
        train: NDArray[np.int64],
        *,
        layers: Callable[[int], Sequence[Layer]],
        loss: Loss,
        rng: np.random.Generator,
        encoding: Encoding | None = None,
        has_log_target: bool = False,
        clip_values: bool = False,
        embeds_numbers: bool = False,
    ) -> Model:
        """Return a model for `table` with initial weights.

        Args:
            table: Table with the columns and the target.
            train: Indices of the training rows, from which the preprocessing takes its statistics.
            layers: Function from the number of logits to the layers; embedding layers are put
                before them, of numbers if `embeds_numbers` and of categories if there are some that
                the encoder leaves to one.
            loss: Loss of the training.
            rng: Random generator of the initial weights.
            encoding: Options of the preprocessing [default: the encoder's].
            has_log_target: Whether the network learns the logarithm of the target, whose values are
                then all above 0 [default: no].
            clip_values: Whether the values of a regression are clipped to the range of the training
                targets [default: no].
            embeds_numbers: Whether the scaled float32 numbers, booleans included, have periodic
                embeddings [default: no].
        """
        classes = target_scaler = value_range = None
        if table.task == "regression":
            target = table.target[train]
            if clip_values:
                value_range = (
                    target.min(axis=0).astype(np.float32),
                    target.max(axis=0).astype(np.float32),
                )
            if loss.link == "identity":
                target_scaler = Scaler.fit(np.log(target) if has_log_target else target)
            n_outputs = table.target.shape[1]
        else:
            classes = np.unique(table.target)
            n_outputs = 1 if table.task == "binary" else len(classes)
        encoder = Encoder.fit(table.records, train, encoding)
        embeddings = _build_embeddings(encoder, embeds_numbers=embeds_numbers)
        return cls(
            task=table.task,
            encoder=encoder,
            network=Network(encoder.width, [*embeddings, *layers(n_outputs)], rng=rng),
            loss=loss,
            target_scaler=target_scaler,
            classes=classes,
            has_log_target=has_log_target,
            value_range=value_range,
        )

    @property
    def positive_class(self) -> int | str | None:
        """The class that `threshold` applies to; None unless the task is binary."""
        if self.task != "binary" or self.classes is None:
            return None
        positive: int | str = self.classes[self.positive_index].item()
        return positive

    @property
    def has_exponential_output(self) -> bool:
        """Whether an answer is the exponential of an output of the network."""
        return self.has_log_target or self.loss.link == "exp"

    def encode_rows(self, table: Table, indices: NDArray[np.int64]) -> TrainingRows:
        """Return rows of the table, int64 `(n,)`, as inputs and targets of the network."""
        features = self.encoder.transform(table.records.take(indices))
        target = table.target[indices]
        if self.target_scaler is not None:
            values = np.log(target) if self.has_log_target else target
            return TrainingRows(features, self.target_scaler.transform(values))
        if self.task == "regression":
            return TrainingRows(features, target.astype(np.float32))
        class_indices = np.searchsorted(self.classes, target)  # type: ignore[arg-type]
        if self.task == "binary":
            return TrainingRows(features, class_indices.astype(np.float32)[:, None])
        return TrainingRows(features, class_indices)

    def logits(self, records: Records) -> NDArray[np.float32]:
        """Return the outputs of the network before temperature and bias, `(n, n_outputs)`."""
        logits = [
            self.network.logits(self.encoder.transform(records.take(slice(start, start + SLICE))))
            for start in range(0, max(len(records), 1), SLICE)
        ]
        return logits[0] if len(logits) == 1 else np.concatenate(logits)

    def answers(self, records: Records) -> Answers:
        """Return the answers to n ≥ 0 records, by the names of the graph's outputs.

        Returns:
            Classification has `label`, of the type of the classes, `(n,)`, and `probabilities`,
            float32 `(n, n_classes)`; regression has `value`, float32 `(n, n_targets)`, in the units
            of the target.
        """
        logits = self.logits(records)
        if self.temperature != 1:
            logits /= np.float32(self.temperature)
        if self.logit_bias is not None:
            logits += self.logit_bias
        outputs = self.loss.answers(logits)
        if self.task == "regression":
            value = outputs if self.target_scaler is None else self.target_scaler.inverse(outputs)
            if self.has_log_target:
                # Evaluation and serving check for infinite answers themselves.
                with np.errstate(over="ignore"):
                    value = np.exp(value)
            if self.value_range is not None:
                value = value.clip(*self.value_range)
            return {"value": value}
        if self.task == "binary":
            # σ(−z) instead of 1 − p, which would lose digits where p is near 1.
            outputs = np.concatenate([self.loss.answers(-logits), outputs], axis=1)
            is_positive = outputs[:, self.positive_index] >= np.float32(self.threshold)
            choice = np.where(is_positive, self.positive_index, 1 - self.positive_index)
        else:
            choice = outputs.argmax(axis=1)
        return {"label": self.classes[choice], "probabilities": outputs}  # type: ignore[index]


def _build_embeddings(encoder: Encoder, *, embeds_numbers: bool) -> list[Layer]:
    """Return the embedding layers: first of the numbers, which are the first inputs."""
    layers: list[Layer] = []
    if embeds_numbers and encoder.n_scaled_numbers:
        layers.append(PeriodicEmbedding(encoder.n_scaled_numbers))
    sizes = [categories.size for categories in encoder.embedded_categories]
    if sizes:
        layers.append(Embedding(sizes, [embedding_width(size) for size in sizes]))
    return layers
