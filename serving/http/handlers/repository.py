"""Routes of the Open Inference Protocol's repository extension, and a rollback.

`POST /v2/repository/index` lists every version and its state. `POST
/v2/repository/models/NAME/load`, `/unload` and `/rollback` change which versions are served. They
answer once this worker has made the change; every other worker makes it when it next reconciles.
The changes survive a restart of the server.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from flask import Blueprint, Response, jsonify

from serving.bundle import VERSION_PATTERN
from serving.errors import InvalidOptionsError
from serving.http.requests import quote_option, read_options
from serving.repository import Repository
from serving.settings.options import Settings


def create_repository_blueprint(repository: Repository, settings: Settings) -> Blueprint:
    """Return the blueprint of the extension.

    Args:
        repository: Loaded models, by name and version.
        settings: Options of the server.
    """
    routes = Blueprint("repository", __name__)
    limit = settings.max_body

    @routes.post("/v2/repository/index")
    def index() -> Response:
        only_ready = read_options(["ready"], limit).get("ready", False)
        if not isinstance(only_ready, bool):
            raise InvalidOptionsError(
                f"expected true or false for ready; got {quote_option(only_ready)}"
            )
        entries = repository.build_index()
        return jsonify([entry for entry in entries if entry["state"] == "READY" or not only_ready])

    @routes.post("/v2/repository/models/<name>/load")
    def load(name: str) -> Response:
        _refuse_parameters(limit)
        return jsonify(repository.load_model(name))

    @routes.post("/v2/repository/models/<name>/unload")
    def unload(name: str) -> Response:
        # Triton's client sends unload_dependents; no model here depends on another.
        _refuse_parameters(limit, ["unload_dependents"])
        return jsonify(repository.unload_model(name))

    @routes.post("/v2/repository/models/<name>/rollback")
    def rollback(name: str) -> Response:
        return jsonify(repository.roll_back(name, _read_version(limit)))

    return routes


def _read_parameters(limit: int) -> dict[str, Any]:
    """Return the `parameters` of the request's body; empty if it has none."""
    parameters = read_options(["parameters"], limit).get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise InvalidOptionsError(
            f"expected parameters as an object; got {quote_option(parameters)}"
        )
    return parameters


def _read_version(limit: int) -> int | None:
    """Return the version in the body, for instance `{"parameters": {"version": 2}}`.

    The version may be a number or, as in the index, a text.

    Returns:
        The version number; None if the body has no parameters.
    """
    parameters = _read_parameters(limit)
    if not parameters:
        return None
    if set(parameters) == {"version"}:
        version = parameters["version"]
        if type(version) in (int, str) and re.fullmatch(VERSION_PATTERN, str(version), re.ASCII):
            return int(version)
    raise InvalidOptionsError(
        f"expected no parameters except a version number, {{'version': 2}}; got "
        f"{quote_option(parameters)}"
    )


def _refuse_parameters(limit: int, ignored: Collection[str] = ()) -> None:
    """Refuse a request whose body has parameters that this server does not support.

    Args:
        limit: Largest number of bytes of the body.
        ignored: Names of boolean parameters that are accepted and have no effect.

    Raises:
        InvalidOptionsError: If there is another parameter, or one of these is not boolean.
    """
    for name, value in _read_parameters(limit).items():
        if name == "config" or name.startswith("file:"):
            raise InvalidOptionsError(
                f"expected to load the model as it is in its folder; got the parameter "
                f"{quote_option(name)}, which would override a part of it; add a new version to "
                f"the folder instead"
            )
        if name not in ignored:
            raise InvalidOptionsError(
                f"expected no parameters{''.join(f' except {known}' for known in ignored)}; got "
                f"{quote_option(name)}; leave it out"
            )
        if not isinstance(value, bool):
            raise InvalidOptionsError(
                f"expected {name} to be true or false; got {quote_option(value)}"
            )
