"""Handlers of Triton's extensions to the Open Inference Protocol under `/v2`.

https://github.com/triton-inference-server/server/tree/main/docs/protocol

Statistics and model configurations are supported. Tracing, log settings and shared memory are shown
as off, fixed or empty, and every change is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from serving.codec.messages import EncodedAnswer
from serving.errors import UnsupportedExtensionError
from serving.http.components import ServerComponents
from serving.http.handlers.open_inference import PLATFORM
from serving.http.requests import encode_json, find_model, quote_option, read_options
from serving.inference.predictor import TensorMetadata, build_tensor_metadata
from serving.repository import ServedModel
from serving.settings.options import Settings
from serving.telemetry.metric_definitions import REQUESTS, ROWS_ANSWERED, STAGE_SECONDS
from serving.telemetry.shared_counters import SharedCounters


class TraceSettings(TypedDict):
    """Answer of `/v2/trace/setting`."""

    trace_level: list[str]


class LogSettings(TypedDict):
    """Answer of `/v2/logging`."""

    log_file: str
    log_info: bool
    log_warning: bool
    log_error: bool
    log_verbose_level: int


class TensorConfig(TypedDict):
    """A tensor in a model's configuration; `dims` lacks the batch dimension."""

    name: str
    data_type: str
    dims: list[int]
    reshape: NotRequired[dict[str, list[int]]]


class ModelConfig(TypedDict):
    """Answer of `GET /v2/models/NAME/config`.

    Attributes:
        name: Name of the model.
        platform: Name of the framework.
        backend: Name of the library that runs the model.
        max_batch_size: Largest number of rows of one batch.
        input: Input tensors.
        output: Output tensors.
        dynamic_batching: Empty object, by which Triton says that requests are batched.
        parameters: Positive class and threshold of a binary classifier; absent for other models.
    """

    name: str
    platform: str
    backend: str
    max_batch_size: Annotated[int, Field(ge=1)]
    input: list[TensorConfig]
    output: list[TensorConfig]
    dynamic_batching: dict[str, Any]
    parameters: NotRequired[dict[str, dict[str, str]]]


class VersionStatistics(TypedDict):
    """Statistics of one version; Triton's description says what each count means."""

    name: str
    version: str
    inference_count: int
    inference_stats: dict[str, dict[str, int]]


class Statistics(TypedDict):
    """Answer of `GET /v2/models/stats`, also for one model or version."""

    model_stats: list[VersionStatistics]


TRACE_SETTINGS = TraceSettings(trace_level=["OFF"])


def describe_statistics(
    server: ServerComponents,
    _environ: dict[str, Any],
    name: str | None = None,
    version: str | None = None,
) -> EncodedAnswer:
    """Answer with the statistics of all models, of one model, or of one version."""
    repository = server.repository
    if name is None:
        versions = [
            (model_name, number)
            for model_name in repository.live_models
            for number in sorted(repository.get_versions(model_name))
        ]
    else:
        found_version = find_model(repository, name, version).manifest.version
        numbers = repository.get_versions(name) if version is None else [found_version]
        versions = [(name, number) for number in sorted(numbers)]
    model_statistics = ModelStatistics(server.counters)
    return encode_json(
        Statistics(
            model_stats=[
                model_statistics.describe_version(model_name, number)
                for model_name, number in versions
            ]
        )
    )


def describe_model_config(
    server: ServerComponents, _environ: dict[str, Any], name: str, version: str | None = None
) -> EncodedAnswer:
    """Answer with the configuration of a model."""
    model = find_model(server.repository, name, version)
    return encode_json(_describe_config(model, server.settings))


def describe_trace_settings(
    server: ServerComponents, environ: dict[str, Any], name: str | None = None
) -> EncodedAnswer:
    """Answer with the trace settings, and refuse to change them."""
    if name is not None:
        find_model(server.repository, name, None)
    advice = "this server records no traces; GET /metrics shows the time of each stage"
    _refuse_changes(server, environ, TRACE_SETTINGS, advice)
    return encode_json(TRACE_SETTINGS)


def describe_log_settings(server: ServerComponents, environ: dict[str, Any]) -> EncodedAnswer:
    """Answer with the log settings, and refuse to change them."""
    current = _get_log_settings(server.settings)
    _refuse_changes(server, environ, current, "restart the server with another --log-level")
    return encode_json(current)


def list_regions(_server: ServerComponents, _environ: dict[str, Any]) -> EncodedAnswer:
    """Answer that no region of shared memory is registered."""
    return encode_json([])


def refuse_region(
    _server: ServerComponents, _environ: dict[str, Any], region: str
) -> EncodedAnswer:
    """Refuse to register or describe a region of shared memory."""
    raise UnsupportedExtensionError(
        f"expected tensors in the body of a request; got the shared memory region "
        f"{quote_option(region)}; this server supports no shared memory; send binary tensors"
    )


def unregister_region(
    _server: ServerComponents, _environ: dict[str, Any], **_region: str
) -> EncodedAnswer:
    """Answer as Triton does for a region that is not registered."""
    return encode_json({})


def _describe_config(model: ServedModel, settings: Settings) -> ModelConfig:
    """Return a model's configuration in the form in which Triton returns one."""
    tensors = build_tensor_metadata(model.manifest)
    threshold = model.manifest.variants[model.variant].threshold or model.manifest.threshold
    config = ModelConfig(
        name=model.manifest.name,
        platform=PLATFORM,
        backend="onnxruntime",
        max_batch_size=settings.max_batch_rows or model.latency_profile.max_batch_rows,
        input=[_describe_tensor(tensor) for tensor in tensors["inputs"]],
        output=[_describe_tensor(tensor) for tensor in tensors["outputs"]],
        dynamic_batching={},
    )
    if threshold is not None:
        config["parameters"] = {
            "positive": {"string_value": str(model.manifest.positive_class)},
            "threshold": {"string_value": repr(threshold)},
        }
    return config


def _describe_tensor(tensor: TensorMetadata) -> TensorConfig:
    datatype = "STRING" if tensor["datatype"] == "BYTES" else tensor["datatype"]
    dims = tensor["shape"][1:]  # a configuration leaves out the batch dimension
    config = TensorConfig(name=tensor["name"], data_type=f"TYPE_{datatype}", dims=dims or [1])
    if not dims:
        # Triton allows no empty dims; a tensor with one value per row is declared like this.
        config["reshape"] = {"shape": []}
    return config


def _get_log_settings(settings: Settings) -> LogSettings:
    level = settings.log_level
    return LogSettings(
        log_file="",
        log_info=level in ("debug", "info"),
        log_warning=level != "error",
        log_error=True,
        log_verbose_level=int(level == "debug"),
    )


def _refuse_changes(
    server: ServerComponents, environ: dict[str, Any], current: Mapping[str, Any], advice: str
) -> None:
    """Refuse a request that would change a setting.

    Args:
        server: Components of the server.
        environ: WSGI environ of the request.
        current: Values of the settings, by name.
        advice: End of the error message: what the client can do instead.

    Raises:
        UnsupportedExtensionError: If a value in the body is neither null nor the current value.
    """
    if environ["REQUEST_METHOD"] != "POST":
        return
    for name, value in read_options(server, environ, None).items():
        if value is not None and value != current.get(name):
            raise UnsupportedExtensionError(
                f"expected no change of this setting; got {quote_option(value)} for "
                f"{quote_option(name)}; {advice}"
            )


# Triton's name of each stage of a request, by this server's name for it in the metrics.
TRITON_STAGES = {
    "queue": "queue",
    "decode": "compute_input",
    "run": "compute_infer",
    "encode": "compute_output",
}


class ModelStatistics:
    """A snapshot of the statistics of all models, summed over all workers.

    Statistics that this server does not count are left out; they are not shown as 0.

    Args:
        counters: Shared memory with the counters of all workers.
    """

    def __init__(self, counters: SharedCounters) -> None:
        totals = counters.sum_over_slots()
        self._requests = totals.get(REQUESTS.name, {})
        self._rows = totals.get(ROWS_ANSWERED.name, {})
        self._stages = totals.get(STAGE_SECONDS.name, {})

    def describe_version(self, name: str, version: int) -> VersionStatistics:
        """Return the statistics of one version since the server started.

        The times of the stages are counted by model, not by version. So they are included only as
        long as no other version of the model has received a request.

        Args:
            name: Name of the model.
            version: Version number.
        """
        counts = {"success": 0, "fail": 0}
        versions = set()
        for (_, model, model_version, _, code), (count,) in self._requests.items():
            if model == name:
                versions.add(model_version)
                if model_version == str(version):
                    counts["success" if int(code) < 400 else "fail"] += int(count)
        inferences: dict[str, Any] = {outcome: {"count": n} for outcome, n in counts.items()}
        if versions <= {str(version)}:
            inferences |= {
                key: self._sum_stage(stage, name) for stage, key in TRITON_STAGES.items()
            }
        rows = sum(
            count
            for (_, *labels, _), (count,) in self._rows.items()
            if labels == [name, str(version)]
        )
        return VersionStatistics(
            name=name,
            version=str(version),
            inference_count=int(rows),
            inference_stats=inferences,
        )

    def _sum_stage(self, stage: str, name: str) -> dict[str, int]:
        count = seconds = 0.0
        for (counted_stage, _, model), (*buckets, total) in self._stages.items():
            if (counted_stage, model) == (stage, name):
                count += sum(buckets)
                seconds += total
        return {"count": int(count), "ns": round(seconds * 1e9)}
