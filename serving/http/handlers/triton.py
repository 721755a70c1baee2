"""Routes of Triton's extensions of the Open Inference Protocol under `/v2`.

https://github.com/triton-inference-server/server/tree/main/docs/protocol

Statistics and model configurations are supported. Tracing, log settings and shared memory are shown
as off, fixed or empty, and every change is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, jsonify, request

from serving.errors import UnsupportedExtensionError
from serving.http.handlers.open_inference import PLATFORM
from serving.http.requests import find_model, quote_option, read_options
from serving.inference.predictor import build_tensor_metadata
from serving.repository import Repository, ServedModel
from serving.settings.options import Settings
from serving.telemetry.metric_definitions import REQUESTS, ROWS_ANSWERED, STAGE_SECONDS
from serving.telemetry.shared_counters import SharedCounters

TRACE_SETTINGS = {"trace_level": ["OFF"]}


def create_triton_blueprint(
    repository: Repository, counters: SharedCounters, settings: Settings
) -> Blueprint:
    """Return the blueprint of the extensions.

    Args:
        repository: Loaded models, by name and version.
        counters: Shared memory with the counters of all workers.
        settings: Options of the server.
    """
    routes = Blueprint("triton", __name__)
    current_log_settings = _get_log_settings(settings)

    @routes.get("/v2/models/stats")
    @routes.get("/v2/models/<name>/stats")
    @routes.get("/v2/models/<name>/versions/<version>/stats")
    def statistics(name: str | None = None, version: str | None = None) -> dict[str, Any]:
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
        model_statistics = ModelStatistics(counters)
        return {
            "model_stats": [
                model_statistics.describe_version(model_name, number)
                for model_name, number in versions
            ]
        }

    @routes.get("/v2/models/<name>/config")
    @routes.get("/v2/models/<name>/versions/<version>/config")
    def config(name: str, version: str | None = None) -> dict[str, Any]:
        return _describe_config(find_model(repository, name, version), settings)

    @routes.route("/v2/trace/setting", methods=["GET", "POST"])
    @routes.route("/v2/models/<name>/trace/setting", methods=["GET", "POST"])
    def trace_settings(name: str | None = None) -> dict[str, Any]:
        if name is not None:
            find_model(repository, name, None)
        advice = "this server records no traces; GET /metrics shows the time of each stage"
        _refuse_changes(TRACE_SETTINGS, advice, settings)
        return TRACE_SETTINGS

    @routes.route("/v2/logging", methods=["GET", "POST"])
    def log_settings() -> dict[str, Any]:
        advice = "restart the server with another --log-level"
        _refuse_changes(current_log_settings, advice, settings)
        return current_log_settings

    def list_regions() -> Response:
        return jsonify([])

    def refuse_region(name: str) -> Response:
        raise UnsupportedExtensionError(
            f"expected tensors in the body of a request; got the shared memory region "
            f"{quote_option(name)}; this server supports no shared memory; send binary tensors"
        )

    def unregister(name: str = "") -> dict[str, Any]:  # noqa: ARG001
        return {}  # Triton's answer for a region that is not registered

    for kind in ("systemsharedmemory", "cudasharedmemory"):
        routes.get(f"/v2/{kind}/status")(list_regions)
        routes.get(f"/v2/{kind}/region/<name>/status")(refuse_region)
        routes.post(f"/v2/{kind}/region/<name>/register")(refuse_region)
        routes.post(f"/v2/{kind}/region/<name>/unregister")(unregister)
        routes.post(f"/v2/{kind}/unregister")(unregister)
    return routes


def _describe_config(model: ServedModel, settings: Settings) -> dict[str, Any]:
    """Return a model's configuration in the form in which Triton returns one."""
    tensors = build_tensor_metadata(model.manifest)
    threshold = model.manifest.variants[model.variant].threshold or model.manifest.threshold
    decision = (
        {}
        if threshold is None
        else {
            "parameters": {
                "positive": {"string_value": str(model.manifest.positive_class)},
                "threshold": {"string_value": repr(threshold)},
            }
        }
    )
    return {
        "name": model.manifest.name,
        "platform": PLATFORM,
        "backend": "onnxruntime",
        "max_batch_size": settings.max_batch_rows or model.latency_profile.max_batch_rows,
        "input": [_describe_tensor(tensor) for tensor in tensors["inputs"]],
        "output": [_describe_tensor(tensor) for tensor in tensors["outputs"]],
        "dynamic_batching": {},
        **decision,
    }


def _describe_tensor(tensor: Mapping[str, Any]) -> dict[str, Any]:
    datatype = "STRING" if tensor["datatype"] == "BYTES" else tensor["datatype"]
    described = {"name": tensor["name"], "data_type": f"TYPE_{datatype}"}
    dims = tensor["shape"][1:]  # a configuration leaves out the batch dimension
    # Triton allows no empty dims; a tensor with one value per row is declared with this reshape.
    return described | ({"dims": dims} if dims else {"dims": [1], "reshape": {"shape": []}})


def _get_log_settings(settings: Settings) -> dict[str, Any]:
    level = settings.log_level
    return {
        "log_file": "",
        "log_info": level in ("debug", "info"),
        "log_warning": level != "error",
        "log_error": True,
        "log_verbose_level": int(level == "debug"),
    }


def _refuse_changes(current: Mapping[str, Any], advice: str, settings: Settings) -> None:
    """Refuse a request that would change a setting.

    Args:
        current: Values of the settings, by name.
        advice: End of the error message: what the client can do instead.
        settings: Options of the server.

    Raises:
        UnsupportedExtensionError: If a value in the body is neither null nor the current value.
    """
    if request.method != "POST":
        return
    for name, value in read_options(None, settings.max_body).items():
        if value is not None and value != current.get(name):
            raise UnsupportedExtensionError(
                f"expected no change of this setting; got {quote_option(value)} for "
                f"{quote_option(name)}; {advice}"
            )


# Triton's names of the stages of a request, by the names in this server's metrics.
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

    def describe_version(self, name: str, version: int) -> dict[str, Any]:
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
        return {
            "name": name,
            "version": str(version),
            "inference_count": int(rows),
            "inference_stats": inferences,
        }

    def _sum_stage(self, stage: str, name: str) -> dict[str, int]:
        count = seconds = 0.0
        for (counted_stage, _, model), (*buckets, total) in self._stages.items():
            if (counted_stage, model) == (stage, name):
                count += sum(buckets)
                seconds += total
        return {"count": int(count), "ns": round(seconds * 1e9)}
