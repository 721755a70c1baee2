"""The search for variants: which ones are tried, how they are trained, and how they are evaluated.

Variants are evaluated on the validation rows. `acceptance.py` has the rules by which they are
accepted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from serving.runtime import TIMED_BATCH_SIZES, GraphSession, measure_latencies
from trainer.compress import acceptance
from trainer.compress.compression_config import METRICS, CompressionConfig, CompressionConfigError
from trainer.compress.distill import distill
from trainer.compress.fold_scaling import fold_scaling
from trainer.compress.int8_overflow import has_int8_overflow
from trainer.compress.layer_widths import count_min_parameters
from trainer.compress.load_trained import FP32, TrainedModel
from trainer.compress.prune import prune
from trainer.compress.qat import quantize_weights
from trainer.compress.quantize import quantize_network
from trainer.compress.sparsify import KeepZeros, sparsify
from trainer.compress.to_dense import list_dense_layers, to_dense
from trainer.compress.trial import SPARSE, Bits, OnTrial, Trial, count_stored_parameters
from trainer.data.memory_budget import compute_memory_budget
from trainer.data.splits import subsample
from trainer.data.tables import DataError
from trainer.evaluate import Evaluation, get_main_metric
from trainer.export.onnx_graph import build_graph
from trainer.model import Model
from trainer.nn import Network
from trainer.output_scaling import fit_output_scaling
from trainer.training.loop import Callback

FLOAT32_BYTES = 4
MAX_SAMPLE_ROWS = 10_000  # training rows that importances and input ranges are computed from
PRUNING_FACTOR = 0.5  # share of the parameters that remains from one pruning step to the next
# QAT continues with weights that are trained already, so it needs a smaller learning rate.
QAT_LEARNING_RATE_FACTOR = 1 / 3
MIN_PARAMETERS = 100  # A smaller network would save nothing worth mentioning.


class VariantSearch:
    """The search for smaller variants of a model that lose no more of its metric than accepted.

    Args:
        trained: The trained model and its data.
        config: The options of the compression.
        callbacks: Callbacks of each training.
        on_trial: Function that is called with each trial as soon as it is evaluated.

    Attributes:
        metric: Name of the metric whose drop is limited.
        original: The model as it was trained, as a trial.
        dense_network: Network of the original model as `to_dense` returns it, from which the
            variants are made.
        original_evaluation: The original model's answers to the validation rows.
        n_prunable_parameters: Number of weights and biases of its dense layers, of which pruning
            removes a share.
        should_reduce_range: Whether weights have 7 bits where they would have 8.
        trials: All trials in order; the original model is the first.

    Raises:
        CompressionConfigError: If the model's task does not have the metric, or fewer weights can
            be removed than `config.prune` asks for.
    """

    def __init__(
        self,
        trained: TrainedModel,
        config: CompressionConfig,
        *,
        callbacks: Sequence[Callback] = (),
        on_trial: OnTrial,
    ) -> None:
        self.config, self.callbacks, self.on_trial = config, callbacks, on_trial
        self.should_reduce_range = (
            has_int8_overflow() if config.reduce_range is None else config.reduce_range
        )
        self.table, self.split = trained.table, trained.split
        self.training_config = trained.config
        if trained.bundle.manifest.aim_unmet is not None:
            # No threshold met the aim in the training. The variants keep the original threshold.
            self.training_config = self.training_config.model_copy(update={"aim": None})
        model = trained.model
        max_rows = compute_memory_budget() // (FLOAT32_BYTES * model.encoder.width)
        training, validation = self.split.train, self.split.validation
        self.training_rows = model.encode_rows(self.table, np.sort(subsample(training, max_rows)))
        n_sample = min(MAX_SAMPLE_ROWS, max_rows)
        self.sample_rows = model.encode_rows(self.table, subsample(training, n_sample))
        self.validation_rows = model.encode_rows(self.table, subsample(validation, max_rows))
        self.original_evaluation = Evaluation.from_model(model, self.table, validation)
        metrics = self.original_evaluation.compute_metrics()
        self.metric = self._choose_metric(model, metrics)
        self.dense_network = to_dense(model.network)
        dense = list_dense_layers(self.dense_network)
        self.n_prunable_parameters = sum(layer.W.size + layer.b.size for layer in dense)
        if isinstance(config.prune, float):
            self._require_removable_share(self.dense_network, config.prune)
        self.trials: list[Trial] = []
        n_parameters = count_stored_parameters(model.network)
        self.original = self._add_trial(
            Trial(FP32, model, build_graph(model), 32, n_parameters, metrics[self.metric])
        )

    def search(self) -> dict[str, list[Trial]]:
        """Try the variants that the options ask for.

        Returns:
            The accepted trials of each variant by its name, the smallest file first; the original
            model is the first variant.
        """
        network = self.dense_network
        if self.config.int8:
            self._try_quantized("int8", network)
        if self.config.sparse is not None:
            self._try_sparse(network, self.config.sparse)
        if self.config.prune == "auto":
            self._prune_until_rejected(network)
        elif self.config.prune != "none":
            for share in _list_pruning_steps(1 - self.config.prune):
                network = self._prune_and_train(network, share)
            self._try_pruned(network)
        return acceptance.group_accepted_trials(self.trials, self.config.max_drop)

    def measure_latencies(self) -> dict[Trial, dict[int, float]]:
        """Return the median duration of one run of each trial by batch size, in microseconds.

        All trials are measured in turn, so that they share the conditions of the machine.
        """
        sessions = {str(i): GraphSession(trial.content) for i, trial in enumerate(self.trials)}
        rows = subsample(self.split.validation, max(TIMED_BATCH_SIZES))
        latencies_us = measure_latencies(sessions, self.table.records.take(rows).inputs())
        return {trial: latencies_us[str(i)] for i, trial in enumerate(self.trials)}

    def _is_accepted(self, trial: Trial) -> bool:
        return acceptance.is_within_max_drop(trial, self.config.max_drop)

    def _prune_until_rejected(self, network: Network) -> None:
        """Halve the network until no variant is accepted, then try one size in between."""
        share = PRUNING_FACTOR
        # Some networks cannot be pruned down to MIN_PARAMETERS.
        smallest = max(MIN_PARAMETERS, count_min_parameters(self.dense_network))
        while share * self.n_prunable_parameters > smallest:
            pruned = self._prune_and_train(network, share)
            if not self._try_pruned(pruned):
                between = share / math.sqrt(PRUNING_FACTOR)
                self._try_pruned(self._prune_and_train(network, between))
                return
            network, share = pruned, share * PRUNING_FACTOR

    def _try_pruned(self, network: Network) -> bool:
        """Try a pruned network in float32 and in integers. Return whether one is accepted."""
        trials = [self._try_variant("pruned", network, 32)]
        if self.config.int8:
            # If float32 is rejected, quantization-aware training does not save 8 bits. 4 bits get
            # it even then: it trains the pruned network for longer, so INT4 may still be accepted.
            is_trainable = self._is_accepted(trials[0])
            trials.append(self._try_quantized("pruned-int8", network, is_trainable=is_trainable))
            trials.append(self._try_quantized("pruned-int4", network, bits=4))
        return any(map(self._is_accepted, trials))

    def _prune_and_train(self, network: Network, share: float) -> Network:
        """Return the network pruned to a share of the original parameters and trained again."""
        rows, max_parameters = self.sample_rows, math.floor(share * self.n_prunable_parameters)
        # The importances come from the true targets. With the original network's own answers as
        # targets, its gradients would be 0.
        pruned = prune(
            network,
            rows.features,
            rows.targets,
            self.original.model.loss,
            max_parameters=max_parameters,
        )
        self._distill(pruned)
        return pruned

    def _try_sparse(self, network: Network, share: float) -> Trial:
        sparse = sparsify(network, share)
        self._distill(sparse, callbacks=[KeepZeros()])
        return self._try_variant(SPARSE, sparse, 32)

    def _try_quantized(
        self, name: str, network: Network, *, bits: Bits = 8, is_trainable: bool = True
    ) -> Trial:
        """Try a network in integers. If it is rejected, try it again after QAT.

        Args:
            name: Name of the variant.
            network: A dense network.
            bits: Bits of a weight. Default 8.
            is_trainable: Whether QAT can help. Default True.
        """
        if bits == 8 and self.should_reduce_range:
            bits = 7
        quantized = quantize_network(
            network, self.sample_rows.features, self._compute_validation_loss, bits=bits
        )
        trial = self._try_variant(name, quantize_weights(quantized), bits)
        if not (self.config.qat or (is_trainable and not self._is_accepted(trial))):
            return trial
        self._distill(quantized, QAT_LEARNING_RATE_FACTOR)
        return self._try_variant(name, quantize_weights(quantized), bits, is_qat=True)

    def _distill(
        self,
        network: Network,
        learning_rate_factor: float = 1,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        """Train a network, in place, to give the original network's answers.

        Args:
            network: The network.
            learning_rate_factor: Factor of the learning rate of the options. Default 1.
            callbacks: Callbacks of this training, besides those of the search.
        """
        model = self.original.model
        distill(
            network,
            model.network,
            model.loss.link,
            self.training_rows.features,
            epochs=self.config.epochs,
            batch_size=self.config.batch_size,
            learning_rate=learning_rate_factor * self.config.learning_rate,
            n_categories=len(model.encoder.embedded_categories),
            input_dropout=self.training_config.input_dropout,
            # Each network size has a generator of its own, so that its result does not depend on
            # which other variants are tried.
            rng=np.random.default_rng([self.config.seed, network.n_parameters]),
            callbacks=[*callbacks, *self.callbacks],
        )

    def _try_variant(
        self, name: str, network: Network, bits: Bits, *, is_qat: bool = False
    ) -> Trial:
        """Evaluate the model with another network, after fitting a new temperature and threshold.

        A variant that cannot be evaluated gets the metric 0, so that it is rejected.
        """
        model = fold_scaling(replace(self.original.model, network=network))
        value = error = 0.0
        try:
            model, unmet = fit_output_scaling(model, self.table, self.split, self.training_config)
            if unmet is not None:
                raise DataError(unmet)
            evaluation = Evaluation.from_model(model, self.table, self.split.validation)
            value = evaluation.compute_metrics()[self.metric]
            error = self.original_evaluation.compute_drop_standard_error(
                evaluation, self.metric, np.random.default_rng(0)
            )
        except DataError:  # No threshold meets the aim any more, or an answer overflows.
            pass
        # Both metrics are shares of the same rows: rounding removes the float64 noise of the
        # difference.
        drop = round(self.original.metric_value - value, 9)
        content, n_parameters = build_graph(model), count_stored_parameters(network)
        return self._add_trial(
            Trial(name, model, content, bits, n_parameters, value, drop, error, is_qat)
        )

    def _add_trial(self, trial: Trial) -> Trial:
        self.trials.append(trial)
        self.on_trial(trial)
        return trial

    def _choose_metric(self, model: Model, validation_metrics: Mapping[str, float]) -> str:
        """Return the metric whose drop is limited.

        Args:
            model: The original model.
            validation_metrics: The original model's metrics on the validation rows.

        Raises:
            CompressionConfigError: If the metric of the options is not defined on the validation
                and test rows of this task.
        """
        test_metrics = Evaluation.from_model(model, self.table, self.split.test).compute_metrics()
        shared = {name: value for name, value in validation_metrics.items() if name in test_metrics}
        metric = self.config.metric or get_main_metric(model.task, shared)
        if metric not in shared:
            raise CompressionConfigError(
                f"expected a metric of this task, one of "
                f"{', '.join(name for name in METRICS if name in shared)}; got {metric}; name one "
                f"of these with --metric"
            )
        return metric

    def _require_removable_share(self, network: Network, share: float) -> None:
        """Refuse a share of weights that cannot be removed.

        Raises:
            CompressionConfigError: If the smallest network has more weights than would remain.
        """
        min_parameters = count_min_parameters(network)
        if math.floor((1 - share) * self.n_prunable_parameters) < min_parameters:
            max_share = math.floor(1000 * (1 - min_parameters / self.n_prunable_parameters)) / 1000
            raise CompressionConfigError(
                f"expected to remove at most a share of {max_share:g} of the weights: this network "
                f"has {self.n_prunable_parameters} and needs at least {min_parameters}; got "
                f"{share:g}; lower --prune"
            )

    def _compute_validation_loss(self, network: Network) -> float:
        rows, loss = self.validation_rows, self.original.model.loss
        return loss.value(network.logits(rows.features), rows.targets, rows.weights)


def _list_pruning_steps(share: float) -> Iterator[float]:
    """Yield the shares of the parameters that remain after each step; the last one is `share`."""
    step = PRUNING_FACTOR
    while step > share:
        yield step
        step *= PRUNING_FACTOR
    yield share
