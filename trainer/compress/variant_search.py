"""The budget: what is tried, what it costs, and which of it holds what was allowed.

What is kept is decided on validation rows. The test rows are asked of nothing else, and may refute
it.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from serving.bundle import CompressionCandidate, MetricDrop
from serving.runtime import TIMED_BATCH_SIZES, GraphSession, measure_latencies
from trainer.compress.compression_config import METRICS, CompressionConfig, CompressionConfigError
from trainer.compress.distill import distill
from trainer.compress.fold_scaling import fold_scaling
from trainer.compress.int8_overflow import has_int8_overflow
from trainer.compress.load_trained import DENSE, TrainedModel
from trainer.compress.prune import count_fewest_parameters, prune
from trainer.compress.qat import quantize_weights
from trainer.compress.quantize import quantize_network
from trainer.compress.sparsify import KeepZeros, sparsify
from trainer.compress.to_dense import dense_layers
from trainer.data.memory_budget import compute_memory_budget
from trainer.data.splits import subsample
from trainer.data.tables import DataError
from trainer.evaluate import Evaluation, get_main_metric
from trainer.export.graph import build_graph
from trainer.model import Model
from trainer.nn import Dense, FeatureSelect, IntegerDense, Network
from trainer.output_scaling import fit_output_scaling
from trainer.training.batches import TrainingRows
from trainer.training.loop import Callback

Bits = Literal[4, 7, 8, 32]
LOOKED_AT = 10_000  # training rows that importances and ranges come from, at most
STEP = 0.5  # share of the weights that remain from one level to the next
GENTLY = 1 / 3  # of the learning rate, for what has learned already and is to be rounded
SPARSE = "sparse"
FEWEST_WEIGHTS = 100  # where nothing is left to win


@dataclass(frozen=True, eq=False)
class Trial:
    """A variant that was tried; equal to itself alone.

    Attributes:
        name: the variant's.
        model: the reference of its graph.
        content: the ONNX file.
        bits: of a weight.
        parameters: weights and biases that are stored.
        value: the metric on the validation rows.
        drop: The dense model's metric minus this one's; above 0 if something was lost.
        error: the standard error of the drop.
        qat: whether it was trained with its rounding.
    """

    name: str
    model: Model
    content: bytes
    bits: Bits
    parameters: int
    value: float
    drop: float = 0.0
    error: float = 0.0
    qat: bool = False

    @property
    def hidden(self) -> list[int]:
        """Units of the hidden layers."""
        layers = self.model.network.layers[:-1]
        return [layer.n_out for layer in layers if isinstance(layer, Dense | IntegerDense)]

    def described(
        self, latency: dict[int, float], *, tested: MetricDrop | None, kept: bool
    ) -> CompressionCandidate:
        """As the manifest lists it."""
        return CompressionCandidate(
            name=self.name,
            bits=self.bits,
            qat=self.qat,
            inputs=_inputs(self.model.network),
            hidden=self.hidden,
            parameters=self.parameters,
            size_bytes=len(self.content),
            zipped_bytes=len(gzip.compress(self.content, mtime=0)),
            latency_us={str(size): microseconds for size, microseconds in latency.items()},
            validation=self.value,
            drop=self.drop,
            error=self.error,
            tested=tested,
            kept=kept,
        )


Tell = Callable[[Trial], None]


class VariantSearch:
    """Tries variants of a model, and says of each whether it holds the budget.

    Args:
        reopened: the model.
        goal: what may be given up, and what is to be tried.
        callbacks: they watch each training.
        tell: told of each trial.

    Attributes:
        metric: that must not drop by more than was allowed.
        dense: the model as it is.
        judged: its answers to the validation rows.
        removable: weights and biases of its dense layers, which pruning removes shares of.
        reduces_range: Whether weights of 8 bits have 7 instead.
        trials: every variant that was tried, in order, the dense one first.

    Raises:
        GoalError: the metric is none of this task, or so many weights cannot be removed.
    """

    def __init__(
        self,
        reopened: TrainedModel,
        goal: CompressionConfig,
        *,
        callbacks: Sequence[Callback] = (),
        tell: Tell,
    ) -> None:
        self.goal, self.callbacks, self.tell = goal, callbacks, tell
        self.reduces_range = has_int8_overflow() if goal.reduce_range is None else goal.reduce_range
        self.table, self.parts = reopened.table, reopened.parts
        self.config = reopened.config
        if reopened.bundle.manifest.aim_unmet is not None:  # the threshold stays the dense one's
            self.config = self.config.model_copy(update={"aim": None})
        model = reopened.model
        most = compute_memory_budget() // (4 * model.encoder.width)
        self.rows = model.rows(self.table, np.sort(subsample(self.parts.train, most)))
        self.sample = model.rows(self.table, subsample(self.parts.train, min(LOOKED_AT, most)))
        self.validation = model.rows(self.table, subsample(self.parts.validation, most))
        self.judged = Evaluation.of(model, self.table, self.parts.validation)
        known = self.judged.metrics()
        self.metric = self._metric_of(model, known)
        self.removable = sum(d.W.size + d.b.size for d in dense_layers(model.network))
        if isinstance(goal.prune, float):
            self._require_room(model.network, goal.prune)
        self.trials: list[Trial] = []
        size, value = _parameters(model.network), known[self.metric]
        self.dense = self._took(Trial(DENSE, model, build_graph(model), 32, size, value))

    def holds(self, trial: Trial) -> bool:
        """Whether it loses no more than was allowed, even by a standard error more than it does.

        Of many that are tried, some are lucky on the validation rows; as for trees in Breiman et
        al. 1984, Classification and Regression Trees, section 3.4.3, that must not decide.
        """
        return trial.drop + trial.error <= self.goal.max_drop

    def search(self) -> dict[str, list[Trial]]:
        """Try what the goal asks for.

        Returns:
            By name the variants that hold the budget, the smallest first; the dense one before all.
        """
        network = self.dense.model.network
        if self.goal.int8:
            self._in_bytes("int8", network)
        if self.goal.sparse is not None:
            self._sparse(network, self.goal.sparse)
        if self.goal.prune == "auto":
            self._prune_as_far_as_it_goes(network)
        elif self.goal.prune != "none":
            for share in _steps_to(1 - self.goal.prune):
                network = self._pruned(network, share)
            self._level(network)
        held: dict[str, list[Trial]] = {}
        for trial in sorted(filter(self.holds, self.trials), key=lambda t: len(t.content)):
            held.setdefault(trial.name, []).append(trial)
        return {
            name: held[name]
            for name in dict.fromkeys(t.name for t in self.trials if t.name in held)
        }

    def race(self) -> dict[Trial, dict[int, float]]:
        """Median µs of one run by batch size, of all that was tried, in one race."""
        sessions = {str(i): GraphSession(trial.content) for i, trial in enumerate(self.trials)}
        records = self.table.records.take(subsample(self.parts.validation, max(TIMED_BATCH_SIZES)))
        times = measure_latencies(sessions, records.inputs())
        return {trial: times[str(i)] for i, trial in enumerate(self.trials)}

    def _prune_as_far_as_it_goes(self, network: Network) -> None:
        """Halve until nothing holds, then try once between the last two."""
        share = STEP
        # However few are needed: some networks cannot be made as small as that.
        while share * self.removable > max(
            FEWEST_WEIGHTS, count_fewest_parameters(self.dense.model.network)
        ):
            smaller = self._pruned(network, share)
            if not self._level(smaller):
                self._level(self._pruned(network, share / math.sqrt(STEP)))
                return
            network, share = smaller, share * STEP

    def _level(self, network: Network) -> bool:
        """Try a pruned network in floats and in bytes; whether any of it holds."""
        tried = [self._try("pruned", network, 32)]
        if self.goal.int8:
            # What floats cannot hold, 8 bits will not, however they are trained; 4 bits are trained
            # in any case, and what they learn besides may do it.
            tried.append(self._in_bytes("pruned-int8", network, trains=self.holds(tried[0])))
            tried.append(self._in_bytes("pruned-int4", network, bits=4))
        return any(map(self.holds, tried))

    def _pruned(self, network: Network, share: float) -> Network:
        """With that share of the dense layers' weights, and what was lost learned again."""
        rows, most = self.sample, math.floor(share * self.removable)
        # By the truth: of what the dense network itself answers, it feels no change to first order.
        smaller = prune(
            network, rows.features, rows.targets, self.dense.model.loss, parameters=most
        )
        self._learn(smaller)
        return smaller

    def _sparse(self, network: Network, share: float) -> Trial:
        sparse = sparsify(network, share)
        self._learn(sparse, callbacks=[KeepZeros()])
        return self._try(SPARSE, sparse, 32)

    def _in_bytes(
        self, name: str, network: Network, *, bits: Bits = 8, trains: bool = True
    ) -> Trial:
        """In whole numbers; trained with its rounding if that may help and it does not hold."""
        if bits == 8 and self.reduces_range:
            bits = 7
        rounding = quantize_network(network, self.sample.features, self._score, bits=bits)
        trial = self._try(name, quantize_weights(rounding), bits)
        if not (self.goal.qat or (trains and not self.holds(trial))):
            return trial
        self._learn(rounding, GENTLY)
        return self._try(name, quantize_weights(rounding), bits, qat=True)

    def _learn(
        self, network: Network, share: float = 1, callbacks: Sequence[Callback] = ()
    ) -> None:
        """Let it learn what the dense network answers, at a share of the full learning rate."""
        model = self.dense.model
        distill(
            network,
            model.network,
            model.loss.link,
            self.rows.features,
            epochs=self.goal.epochs,
            batch_size=self.goal.batch_size,
            learning_rate=share * self.goal.learning_rate,
            whole=len(model.encoder.embedded),
            silenced=self.config.input_dropout,
            # One for each size, so that what else is tried does not change what comes of it.
            rng=np.random.default_rng([self.goal.seed, network.n_parameters]),
            callbacks=[*callbacks, *self.callbacks],
        )

    def _try(self, name: str, network: Network, bits: Bits, *, qat: bool = False) -> Trial:
        """Judge a network in the dense one's place, with a temperature and threshold of its own."""
        model = fold_scaling(replace(self.dense.model, network=network))
        value = error = 0.0
        try:
            model, unmet = fit_output_scaling(model, self.table, self.parts, self.config)
            if unmet is not None:
                raise DataError(unmet)
            judged = Evaluation.of(model, self.table, self.parts.validation)
            value = judged.metrics()[self.metric]
            error = self.judged.error_of_drop(judged, self.metric, np.random.default_rng(0))
        except DataError:  # no threshold meets the aim any more, or an answer overflows
            pass
        # Without what float64 leaves of a difference of two shares of the same rows.
        drop = round(self.dense.value - value, 9)
        content, size = build_graph(model), _parameters(network)
        trial = Trial(name, model, content, bits, size, value, drop, error, qat)
        return self._took(trial)

    def _took(self, trial: Trial) -> Trial:
        self.trials.append(trial)
        self.tell(trial)
        return trial

    def _metric_of(self, model: Model, validation: Mapping[str, float]) -> str:
        """That which must not drop: one that validation and test rows both have."""
        test = Evaluation.of(model, self.table, self.parts.test).metrics()
        known = {name: value for name, value in validation.items() if name in test}
        metric = self.goal.metric or get_main_metric(model.task, known)
        if metric not in known:
            raise CompressionConfigError(
                f"expected a metric of this task, out of "
                f"{', '.join(name for name in METRICS if name in known)}; got {metric}"
            )
        return metric

    def _require_room(self, network: Network, share: float) -> None:
        least = count_fewest_parameters(network)
        if math.floor((1 - share) * self.removable) < least:
            most = math.floor(1000 * (1 - least / self.removable)) / 1000
            raise CompressionConfigError(
                f"expected a share of the weights to remove of up to {most:g}, from a network of "
                f"{self.removable} that needs {least}; got {share:g}"
            )

    def _score(self, network: Network) -> float:
        rows: TrainingRows = self.validation
        loss = self.dense.model.loss
        return loss.value(network.logits(rows.features), rows.targets, rows.weights)


def _steps_to(share: float) -> Iterator[float]:
    """From step to step, and to `share` in the end."""
    step = STEP
    while step > share:
        yield step
        step *= STEP
    yield share


def _parameters(network: Network) -> int:
    """Weights and biases that are stored."""
    whole = [layer for layer in network.layers if isinstance(layer, IntegerDense)]
    return network.n_parameters + sum(layer.W.size + layer.b.size for layer in whole)


def _inputs(network: Network) -> int:
    """Numbers of a row that are looked at."""
    found = [layer.n_out for layer in network.layers if isinstance(layer, FeatureSelect)]
    first = next(layer for layer in network.layers if not isinstance(layer, FeatureSelect))
    return found[0] if found else first.n_in
