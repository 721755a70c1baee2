"""The Open Inference Protocol's repository extension, and a way back.

`POST /v2/repository/index` tells what has become of every version; `…/models/NAME/load`, `/unload`
and `/rollback` answer once it is done here; every other worker is bound to follow at its next
turn. What they do outlives a restart.
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
    """The routes of this protocol."""
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
        return jsonify([e for e in entries if e["state"] == "READY" or not only_ready])

    @routes.post("/v2/repository/models/<name>/load")
    def load(name: str) -> Response:
        _refuse_parameters(limit)
        return jsonify(repository.load_model(name))

    @routes.post("/v2/repository/models/<name>/unload")
    def unload(name: str) -> Response:
        _refuse_parameters(limit, ["unload_dependents"])  # Triton's client sends it; none depends
        return jsonify(repository.unload_model(name))

    @routes.post("/v2/repository/models/<name>/rollback")
    def rollback(name: str) -> Response:
        return jsonify(repository.roll_back(name, _read_version(limit)))

    return routes


def _read_parameters(limit: int) -> dict[str, Any]:
    """Return the parameters of the request; empty where there are none."""
    parameters = read_options(["parameters"], limit).get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise InvalidOptionsError(
            f"expected parameters as an object; got {quote_option(parameters)}"
        )
    return parameters


def _read_version(limit: int) -> int | None:
    """Return `{"parameters": {"version": 2}}` of the body, or None if it says nothing.

    A text, as the index has it, is as good as a number.
    """
    parameters = _read_parameters(limit)
    if not parameters:
        return None
    if set(parameters) == {"version"}:
        version = parameters["version"]
        if type(version) in (int, str) and re.fullmatch(VERSION_PATTERN, str(version), re.ASCII):
            return int(version)
    raise InvalidOptionsError(
        f"expected no parameters but the number of a version, {{'version': 2}}; got "
        f"{quote_option(parameters)}"
    )


def _refuse_parameters(limit: int, known: Collection[str] = ()) -> None:
    """Refuse parameters that would change something, and those that are not known.

    Args:
        limit: Bytes of the body.
        known: Names of parameters that are true or false, and make no difference here.

    Raises:
        InvalidOptionsError: If there is another one, or another value.
    """
    for name, value in _read_parameters(limit).items():
        if name == "config" or name.startswith("file:"):
            raise InvalidOptionsError(
                f"expected a model as its folder has it; got the parameter {quote_option(name)}, which "
                f"would replace parts of it; put a new version into the folder"
            )
        if name not in known:
            raise InvalidOptionsError(
                f"expected {'no parameters' + ''.join(f' but {name}' for name in known)}; got "
                f"{quote_option(name)}; leave it out"
            )
        if not isinstance(value, bool):
            raise InvalidOptionsError(
                f"expected {name} to be true or false; got {quote_option(value)}"
            )
