"""The Open Inference Protocol's repository extension, and a way back.

`POST /v2/repository/index` tells what has become of every version; `…/models/NAME/load`, `/unload`
and `/rollback` answer once it is done here; every other worker is bound to follow at its next
turn. What they do outlives a restart.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

from flask import Blueprint, Response, jsonify, request

from serving.bundle import NUMBER
from serving.errors import InvalidOptionsError
from serving.guard import read_body
from serving.repository import Repository
from serving.settings import Settings

LONGEST = 128 * 2**10  # bytes of a body: it holds an option or two, and is parsed in one step


def repository_routes(repository: Repository, settings: Settings) -> Blueprint:
    """The routes of this protocol."""
    routes = Blueprint("repository", __name__)
    limit = settings.max_body

    @routes.post("/v2/repository/index")
    def index() -> Response:
        only_ready = _options(["ready"], limit).get("ready", False)
        if not isinstance(only_ready, bool):
            raise InvalidOptionsError(f"expected true or false for ready; got {_short(only_ready)}")
        entries = repository.index()
        return jsonify([e for e in entries if e["state"] == "READY" or not only_ready])

    @routes.post("/v2/repository/models/<name>/load")
    def load(name: str) -> Response:
        _refuse_parameters(limit)
        return jsonify(repository.take_up(name))

    @routes.post("/v2/repository/models/<name>/unload")
    def unload(name: str) -> Response:
        _refuse_parameters(limit)
        return jsonify(repository.unload(name))

    @routes.post("/v2/repository/models/<name>/rollback")
    def rollback(name: str) -> Response:
        return jsonify(repository.roll_back(name, _version(limit)))

    return routes


def _refuse_parameters(limit: int) -> None:
    """None is known: one that was passed over would be taken for heeded."""
    parameters = _options(["parameters"], limit).get("parameters") or {}
    if parameters:
        raise InvalidOptionsError(
            f"expected no parameters; got {_short(parameters)}; a model's folder says all of it"
        )


def _version(limit: int) -> int | None:
    """Return `{"parameters": {"version": 2}}` of the body, or None if it says nothing.

    A text, as the index has it, is as good as a number.
    """
    parameters = _options(["parameters"], limit).get("parameters") or {}
    if not parameters:
        return None
    if isinstance(parameters, dict) and set(parameters) == {"version"}:
        version = parameters["version"]
        if type(version) in (int, str) and re.fullmatch(NUMBER, str(version), re.ASCII):
            return int(version)
    raise InvalidOptionsError(
        f"expected no parameters but the number of a version, {{'version': 2}}; got "
        f"{_short(parameters)}"
    )


def _options(known: Collection[str], limit: int) -> dict[str, Any]:
    """The body, an object of no other keys; an empty one says nothing."""
    body = read_body(request.environ, min(limit, LONGEST))
    try:
        options = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        options = None
    if not isinstance(options, dict) or not set(options) <= set(known):
        raise InvalidOptionsError(
            f"expected an empty body, or a JSON object of {', '.join(known)}; "
            f"got {_short(body.decode(errors='replace'))}"
        )
    return options


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 64 else f"{text[:61]}..."
