"""An HTTP server for the model bundles that `trainer` exports.

Packages, from the outside in; each imports only those after it: `server` (gunicorn, workers and
connections), `http` (the Flask application and its fast path), `inference` (prediction and
batching), `repository` (models, versions and their rollout), `runtime` (ONNX Runtime sessions and
self-tests), `codec` (request and response formats), `telemetry` (metrics and logs), `bundle` (the
files of a model version). `settings`, `call_context`, `event_loop` and `errors` serve them all.
`loadtest` is an independent client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serving.http.app import create_app

__all__ = ["create_app"]


def __getattr__(name: str) -> Any:
    # Imported on demand, so that the trainer can use `serving.bundle` without a web framework.
    if name == "create_app":
        from serving.http.app import create_app  # noqa: PLC0415

        return create_app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
