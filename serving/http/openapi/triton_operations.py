"""Operations of Triton's extensions of the Open Inference Protocol."""

from __future__ import annotations

from typing import Any

from serving.codec.messages import JSON
from serving.http.openapi import descriptions
from serving.http.openapi import error_responses as faults
from serving.http.openapi.operations import (
    FINDING,
    LIST,
    NAME,
    OBJECT,
    TEXT,
    TRUTH,
    VERSION,
    Operation,
    _object,
)

REGION = {"name": "name", "in": "path", "required": True, "schema": TEXT}
UNSUPPORTED = frozenset(faults.EVERYWHERE | {400})
SETTING = frozenset(faults.FINDING | {408, 413})
TENSOR_CONFIG = _object(name=TEXT, data_type=TEXT, dims=LIST)
CONFIG = _object(
    name=TEXT,
    platform=TEXT,
    backend=TEXT,
    max_batch_size={"type": "integer", "minimum": 1},
    input={"type": "array", "items": TENSOR_CONFIG},
    output={"type": "array", "items": TENSOR_CONFIG},
    dynamic_batching=OBJECT,
)
STATISTICS = _object(
    model_stats={
        "type": "array",
        "items": _object(
            name=TEXT,
            version=TEXT,
            inference_count={"type": "integer"},
            inference_stats=OBJECT,
        ),
    }
)
TRACES = _object(trace_level=LIST)
# The current value of a setting is accepted as well; it depends on the server.
NOTHING = {"type": "object", "additionalProperties": {"type": "null"}}
LOGGING = _object(
    log_file=TEXT,
    log_info=TRUTH,
    log_warning=TRUTH,
    log_error=TRUTH,
    log_verbose_level={"type": "integer"},
)


def triton_operations() -> list[Operation]:
    """Return Triton's operations, including those that only report a feature as off or empty."""
    found = [
        Operation(
            "GET",
            "/v2/models/stats",
            "triton",
            "Statistics of all models",
            descriptions.STATISTICS,
            gives={JSON: STATISTICS},
        ),
    ]
    for at, parameters in (("", (NAME,)), ("/versions/{version}", (NAME, VERSION))):
        model = f"/v2/models/{{name}}{at}"
        found += [
            Operation(
                "GET",
                f"{model}/stats",
                "triton",
                "Statistics of a model",
                descriptions.STATISTICS,
                parameters=parameters,
                gives={JSON: STATISTICS},
                statuses=FINDING,
            ),
            Operation(
                "GET",
                f"{model}/config",
                "triton",
                "Configuration of a model",
                descriptions.CONFIG,
                parameters=parameters,
                gives={JSON: CONFIG},
                statuses=FINDING,
            ),
        ]
    settings: list[tuple[str, tuple[dict[str, Any], ...], dict[str, Any], str]] = [
        ("/v2/trace/setting", (), TRACES, descriptions.TRACES),
        ("/v2/models/{name}/trace/setting", (NAME,), TRACES, descriptions.TRACES),
        ("/v2/logging", (), LOGGING, descriptions.LOGGING),
    ]
    for path, of, gives, text in settings:
        found += [
            Operation(
                "GET",
                path,
                "triton",
                "Settings",
                text,
                parameters=of,
                gives={JSON: gives},
                statuses=FINDING,
            ),
            Operation(
                "POST",
                path,
                "triton",
                "Refuse to change settings",
                text,
                parameters=of,
                bodies={JSON: NOTHING},
                gives={JSON: gives},
                statuses=SETTING,
                required=False,
            ),
        ]
    for kind in ("systemsharedmemory", "cudasharedmemory"):
        region, text = f"/v2/{kind}/region/{{name}}", descriptions.SHARED_MEMORY
        found += [
            Operation(
                "GET",
                f"/v2/{kind}/status",
                "triton",
                "Registered regions: none",
                text,
                gives={JSON: {"type": "array", "maxItems": 0}},
            ),
            Operation(
                "GET",
                f"{region}/status",
                "triton",
                "Refuse to find a region",
                text,
                parameters=(REGION,),
                statuses=UNSUPPORTED,
            ),
            Operation(
                "POST",
                f"{region}/register",
                "triton",
                "Refuse to register a region",
                text,
                parameters=(REGION,),
                statuses=UNSUPPORTED,
            ),
            Operation(
                "POST",
                f"{region}/unregister",
                "triton",
                "Unregister a region",
                text,
                parameters=(REGION,),
                gives={JSON: OBJECT},
            ),
            Operation(
                "POST",
                f"/v2/{kind}/unregister",
                "triton",
                "Unregister all regions",
                text,
                gives={JSON: OBJECT},
            ),
        ]
    return found
