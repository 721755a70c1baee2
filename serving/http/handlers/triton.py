"""`/v2`: Triton's extensions of the Open Inference Protocol, as far as they apply here.

https://github.com/triton-inference-server/server/tree/main/docs/protocol
Statistics and configurations are answered. Settings that this server does not have, and shared
memory, are shown as off or empty; a change is refused.
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
    repository: Repository, table: SharedCounters, settings: Settings
) -> Blueprint:
    """Return the routes of these extensions."""
    routes = Blueprint("triton", __name__)
    logging = _get_log_settings(settings)

    @routes.get("/v2/models/stats")
    @routes.get("/v2/models/<name>/stats")
    @routes.get("/v2/models/<name>/versions/<version>/stats")
    def statistics(name: str | None = None, version: str | None = None) -> dict[str, Any]:
        if name is None:
            known = [
                (found, number)
                for found in repository.live_models
                for number in sorted(repository.get_versions(found))
            ]
        else:
            chosen = find_model(repository, name, version).manifest.version
            numbers = repository.get_versions(name) if version is None else [chosen]
            known = [(name, number) for number in sorted(numbers)]
        counted = ModelStatistics(table)
        return {"model_stats": [counted.describe_version(*version_of) for version_of in known]}

    @routes.get("/v2/models/<name>/config")
    @routes.get("/v2/models/<name>/versions/<version>/config")
    def config(name: str, version: str | None = None) -> dict[str, Any]:
        return _describe_config(find_model(repository, name, version), settings)

    @routes.route("/v2/trace/setting", methods=["GET", "POST"])
    @routes.route("/v2/models/<name>/trace/setting", methods=["GET", "POST"])
    def trace_settings(name: str | None = None) -> dict[str, Any]:
        if name is not None:
            find_model(repository, name, None)
        why = "this server keeps no traces; GET /metrics tells the seconds of each stage"
        _refuse_changes(TRACE_SETTINGS, why, settings)
        return TRACE_SETTINGS

    @routes.route("/v2/logging", methods=["GET", "POST"])
    def log_settings() -> dict[str, Any]:
        _refuse_changes(logging, "start the server with another --log-level", settings)
        return logging

    def no_regions() -> Response:
        return jsonify([])

    def no_region(name: str) -> Response:
        raise UnsupportedExtensionError(
            f"expected tensors in the body of a request; got the shared memory region "
            f"{quote_option(name)}; this server reads none; send binary tensors"
        )

    def unregister(name: str = "") -> dict[str, Any]:  # noqa: ARG001
        return {}  # as Triton answers for a region that is not registered

    for kind in ("systemsharedmemory", "cudasharedmemory"):
        routes.get(f"/v2/{kind}/status")(no_regions)
        routes.get(f"/v2/{kind}/region/<name>/status")(no_region)
        routes.post(f"/v2/{kind}/region/<name>/register")(no_region)
        routes.post(f"/v2/{kind}/region/<name>/unregister")(unregister)
        routes.post(f"/v2/{kind}/unregister")(unregister)
    return routes


def _describe_config(model: ServedModel, settings: Settings) -> dict[str, Any]:
    """Return a model's configuration, as Triton would auto-complete it."""
    tensors = build_tensor_metadata(model.manifest)
    threshold = model.manifest.variants[model.variant].threshold or model.manifest.threshold
    said = (
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
        **said,
    }


def _describe_tensor(tensor: Mapping[str, Any]) -> dict[str, Any]:
    kind = "STRING" if tensor["datatype"] == "BYTES" else tensor["datatype"]
    described = {"name": tensor["name"], "data_type": f"TYPE_{kind}"}
    dims = tensor["shape"][1:]  # the first counts the rows, which a configuration leaves out
    # A tensor of one value a row has no further dimension, and dims must not be empty.
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


def _refuse_changes(current: Mapping[str, Any], why: str, settings: Settings) -> None:
    """Refuse a request that would change a setting; one that repeats it, or clears it, is fine.

    Raises:
        UnsupportedExtensionError: If a value is neither null nor what it is already.
    """
    if request.method != "POST":
        return
    for name, value in read_options(None, settings.max_body).items():
        if value is not None and value != current.get(name):
            raise UnsupportedExtensionError(
                f"expected no change of this setting; got {quote_option(value)} for {quote_option(name)}; {why}"
            )


# Triton's name of each stage of a request.
TRITON_STAGES = {
    "queue": "queue",
    "decode": "compute_input",
    "run": "compute_infer",
    "encode": "compute_output",
}


class ModelStatistics:
    """Statistics of all models, as of now.

    Args:
        table: Counters of all workers.
    """

    def __init__(self, table: SharedCounters) -> None:
        totals = table.sum_over_slots()
        self._requests = totals.get(REQUESTS.name, {})
        self._rows = totals.get(ROWS_ANSWERED.name, {})
        self._stages = totals.get(STAGE_SECONDS.name, {})

    def describe_version(self, name: str, version: int) -> dict[str, Any]:
        """Return the statistics of one version since the server started.

        Times of stages are counted by model, not by version. They are included only as long as no
        other version of the model has received a request.
        """
        counts = {"success": 0, "fail": 0}
        versions = set()
        for (_, model, asked, _, code), (count,) in self._requests.items():
            if model == name:
                versions.add(asked)
                if asked == str(version):
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
        for (found, _, model), (*buckets, total) in self._stages.items():
            if (found, model) == (stage, name):
                count += sum(buckets)
                seconds += total
        return {"count": int(count), "ns": round(seconds * 1e9)}
