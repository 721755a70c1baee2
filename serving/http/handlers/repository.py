"""Handlers of the Open Inference Protocol's repository extension, and of a rollback.

`POST /v2/repository/index` lists every version and its state. `POST
/v2/repository/models/NAME/load`, `/unload` and `/rollback` change which versions are served. They
answer once this worker has made the change; every other worker makes it when it next reconciles.
The changes survive a restart of the server.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from serving.bundle import VERSION_PATTERN
from serving.codec.messages import EncodedAnswer
from serving.errors import InvalidOptionsError
from serving.http.components import ServerComponents
from serving.http.requests import encode_json, quote_option, read_options

INDEX_OPTIONS_SCHEMA = {
    "type": "object",
    "properties": {"ready": {"type": "boolean"}},
    "additionalProperties": False,
}
VERSION_OPTION_SCHEMA = {
    "type": ["integer", "string"],
    "minimum": 1,
    "pattern": f"^{VERSION_PATTERN}$",
    "description": "Number of the version to pin. Default: the version below the live one.",
}


def _build_options_schema(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a body whose only member is `parameters`, an object or null."""
    return {
        "type": "object",
        "properties": {"parameters": {"type": ["object", "null"], **parameters}},
        "additionalProperties": False,
    }


LOAD_OPTIONS_SCHEMA = _build_options_schema({"maxProperties": 0})
UNLOAD_OPTIONS_SCHEMA = _build_options_schema(
    {"properties": {"unload_dependents": {"type": "boolean"}}, "additionalProperties": False}
)
ROLLBACK_OPTIONS_SCHEMA = _build_options_schema(
    {"additionalProperties": False, "properties": {"version": VERSION_OPTION_SCHEMA}}
)


def list_versions(server: ServerComponents, environ: dict[str, Any]) -> EncodedAnswer:
    """Answer with every version and its state."""
    only_ready = read_options(server, environ, ["ready"]).get("ready", False)
    if not isinstance(only_ready, bool):
        raise InvalidOptionsError(
            f"expected true or false for ready; got {quote_option(only_ready)}"
        )
    entries = server.repository.build_index()
    return encode_json([entry for entry in entries if entry["state"] == "READY" or not only_ready])


def load(server: ServerComponents, environ: dict[str, Any], name: str) -> EncodedAnswer:
    """Serve a model's newest version, and answer with the result."""
    _refuse_parameters(server, environ)
    return encode_json(server.repository.load_model(name))


def unload(server: ServerComponents, environ: dict[str, Any], name: str) -> EncodedAnswer:
    """Stop serving a model, and answer with the result."""
    # Triton's client sends unload_dependents; no model here depends on another.
    _refuse_parameters(server, environ, ["unload_dependents"])
    return encode_json(server.repository.unload_model(name))


def roll_back(server: ServerComponents, environ: dict[str, Any], name: str) -> EncodedAnswer:
    """Serve an earlier version of a model, and answer with the result."""
    return encode_json(server.repository.roll_back(name, _read_version(server, environ)))


def _read_parameters(server: ServerComponents, environ: dict[str, Any]) -> dict[str, Any]:
    """Return the `parameters` of the request's body; empty if it has none."""
    parameters = read_options(server, environ, ["parameters"]).get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise InvalidOptionsError(
            f"expected parameters as an object; got {quote_option(parameters)}"
        )
    return parameters


def _read_version(server: ServerComponents, environ: dict[str, Any]) -> int | None:
    """Return the version in the body, for instance `{"parameters": {"version": 2}}`.

    The version may be a number or, as in the index, a text.

    Returns:
        The version number; None if the body has no parameters.
    """
    parameters = _read_parameters(server, environ)
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


def _refuse_parameters(
    server: ServerComponents, environ: dict[str, Any], ignored: Collection[str] = ()
) -> None:
    """Refuse a request whose body has parameters that this server does not support.

    Args:
        server: Components of the server.
        environ: WSGI environ of the request.
        ignored: Names of boolean parameters that are accepted and have no effect.

    Raises:
        InvalidOptionsError: If there is another parameter, or one of these is not boolean.
    """
    for name, value in _read_parameters(server, environ).items():
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
