"""Operations: the table of all routes, each with what it takes and gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from serving.codec.messages import JSON
from serving.codec.rows import DECODERS
from serving.http.error_rendering import form_of
from serving.http.openapi import descriptions
from serving.http.openapi import error_responses as faults
from serving.settings.cloud_platforms import Vertex

OCTETS = "application/octet-stream"
EMPTY: dict[str, Any] = {}
NAME = {"$ref": "#/components/parameters/name"}
VERSION = {"$ref": "#/components/parameters/version"}
MODEL = {"$ref": "#/components/parameters/model"}
QUERIED_VERSION = {"$ref": "#/components/parameters/queried_version"}
QUERY = (MODEL, QUERIED_VERSION)
TIMEOUT = {"$ref": "#/components/parameters/timeout"}
JSON_BYTES = {"$ref": "#/components/parameters/json_bytes"}
OPTIONS = {
    "type": "object",
    "properties": {"parameters": {"type": ["object", "null"], "maxProperties": 0}},
    "additionalProperties": False,
}
WHICH_VERSION = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "parameters": {
            "type": ["object", "null"],
            "additionalProperties": False,
            "properties": {
                "version": {
                    "type": ["integer", "string"],
                    "minimum": 1,
                    "pattern": "^[1-9][0-9]{0,8}$",
                    "description": "Number of the version to pin; left out, the one before the one "
                    "that answers.",
                }
            },
        }
    },
}
UNLOAD_OPTIONS = {
    "type": "object",
    "properties": {
        "parameters": {
            "type": ["object", "null"],
            "properties": {"unload_dependents": {"type": "boolean"}},
            "additionalProperties": False,
        }
    },
    "additionalProperties": False,
}
ONLY_READY = {
    "type": "object",
    "properties": {"ready": {"type": "boolean"}},
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Operation:
    """One method of one path.

    Attributes:
        method: GET or POST.
        path: as OpenAPI writes it.
        tag: of the protocol.
        summary: what it does.
        description: what else a user has to know of it, in Markdown.
        access: who may.
        parameters: of the path, the query and the headers.
        bodies: it takes, the part of a model or a schema, by media type.
        gives: of success, likewise; nothing for an empty body.
        statuses: of errors.
        required: it needs a body.
        redirects: Whether it sends a browser to another page.
        unready: it answers with 503 and its own body, or none, where nothing is ready.
    """

    method: Literal["GET", "POST"]
    path: str
    tag: str
    summary: str
    description: str
    access: Literal["open", "predict", "admin"] = "predict"
    parameters: tuple[dict[str, Any], ...] = ()
    bodies: dict[str, str | dict[str, Any]] = field(default_factory=dict)
    gives: dict[str, str | dict[str, Any]] = field(default_factory=dict)
    statuses: frozenset[int] = frozenset(faults.EVERYWHERE)
    required: bool = True
    redirects: bool = False
    unready: bool = False

    def described(self, models: Sequence[str], example: dict[str, Any]) -> dict[str, Any]:
        """As OpenAPI says it, for these models."""
        form = form_of(self.path)
        statuses = self.statuses - ({401, 403} if self.access == "open" else set())
        success: dict[str, Any] = {"description": "It is done."}
        if self.gives:
            success["content"] = _content(self.gives, models, {})
        answers = {"200": success, **faults.answers(statuses, form)}
        if self.redirects:
            answers["303"] = REDIRECTED
        if self.unready:
            answers["503"] = {**success, "description": "Nothing is ready."}
        described: dict[str, Any] = {
            "operationId": _operation_id(self.method, self.path),
            "tags": [self.tag],
            "summary": self.summary,
            "description": self.description,
            "security": SECURITY[self.access],
            "responses": dict(sorted(answers.items())),
        }
        if self.parameters:
            described["parameters"] = list(self.parameters)
        if self.bodies:
            described["requestBody"] = {
                "required": self.required,
                "content": _content(self.bodies, models, example),
            }
        return described


REDIRECTED = {
    "description": "A browser is sent to the page for people.",
    "headers": {"Location": {"schema": {"type": "string", "format": "uri-reference"}}},
}
# Open where the server has no keys; administration needs one everywhere.
KEYS: list[dict[str, list[str]]] = [{"bearer": []}, {"key": []}]
SECURITY: dict[str, list[dict[str, list[str]]]] = {
    "open": [],
    "predict": [{}, *KEYS],
    "admin": KEYS,
}


def _operation_id(method: str, path: str) -> str:
    words = "".join(c if c.isalnum() else " " for c in path).split()
    return "_".join([method.lower(), *words])


def _content(
    parts: dict[str, str | dict[str, Any]], models: Sequence[str], example: dict[str, Any]
) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for media, part in parts.items():
        schema = _of_all(part, models) if isinstance(part, str) else part
        content[media] = {"schema": schema} if schema else {}
        if media == JSON and isinstance(part, str) and part in example:
            content[media]["example"] = example[part]
    return content


def _of_all(part: str, models: Sequence[str]) -> dict[str, Any]:
    """The schema of this part of whichever model is asked."""
    refs = [{"$ref": f"#/components/schemas/{model}.{part}"} for model in models]
    return refs[0] if len(refs) == 1 else {"anyOf": refs} if refs else {"type": "object"}


# What a body of rows can be, beside JSON; its schema is of bytes, which OpenAPI does not know.
ROWS: dict[str, str | dict[str, Any]] = {JSON: "rows", **dict.fromkeys(DECODERS, EMPTY)}
ANSWERS: dict[str, str | dict[str, Any]] = {JSON: "answers", "text/csv": {"type": "string"}}
PREDICTING = frozenset(faults.PREDICTING)
FINDING = frozenset(faults.FINDING)
ADMINISTERING = frozenset(faults.ADMINISTERING)


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


TEXT, TRUTH, LIST = {"type": "string"}, {"type": "boolean"}, {"type": "array"}
OBJECT = {"type": "object"}
READINESS = _object(ready=TRUTH, models=OBJECT, refused=OBJECT, held=OBJECT) | {
    "required": ["ready"]
}
LINKS = {"type": "object", "additionalProperties": {"type": "string", "format": "uri-reference"}}
NUMBER_OR_NONE = {"type": ["integer", "null"]}
DONE = _object(name=TEXT, version=NUMBER_OR_NONE, before=NUMBER_OR_NONE, versions=LIST)
TENSOR = _object(name=TEXT, datatype=TEXT, shape={"type": "array", "items": {"type": "integer"}})
STATUS = _object(version=TEXT, state=TEXT, status=OBJECT)
FACE = _object(
    name=TEXT,
    versions=LIST,
    platform=TEXT,
    inputs={"type": "array", "items": TENSOR},
    outputs={"type": "array", "items": TENSOR},
)
ENTRIES = {"type": "array", "items": _object(name=TEXT, version=TEXT, state=TEXT, reason=TEXT)}


def operations(vertex: Vertex) -> list[Operation]:
    """All there are; those of Vertex AI where it asks for them."""
    return [
        *_own(),
        *_inference(),
        *_administration(),
        *_tensorflow(),
        *_clouds(vertex),
    ]


def _own() -> list[Operation]:
    return [
        Operation(
            "POST",
            "/predict",
            "forwardpass",
            "Predict from records or rows",
            descriptions.ROWS,
            parameters=(*QUERY, TIMEOUT),
            bodies=ROWS,
            gives=ANSWERS,
            statuses=PREDICTING,
        ),
        Operation(
            "GET",
            "/models",
            "forwardpass",
            "List the served models",
            descriptions.MODELS,
            gives={JSON: _object(models=LIST)},
        ),
        Operation(
            "GET",
            "/models/{name}",
            "forwardpass",
            "Describe a model",
            descriptions.MODEL,
            parameters=(NAME, QUERIED_VERSION),
            gives={JSON: OBJECT},
            statuses=FINDING,
        ),
        Operation(
            "GET",
            "/healthz",
            "forwardpass",
            "Whether the server is alive",
            descriptions.ALIVE,
            "open",
            gives={JSON: _object(alive=TRUTH)},
        ),
        Operation(
            "GET",
            "/readyz",
            "forwardpass",
            "Whether a model is ready, and why not",
            descriptions.READY_AND_WHY,
            "open",
            gives={JSON: READINESS},
            unready=True,
        ),
        Operation(
            "GET",
            "/metrics",
            "forwardpass",
            "Metrics for Prometheus",
            descriptions.METRICS,
            gives={"text/plain": TEXT},
        ),
        Operation(
            "GET",
            "/",
            "forwardpass",
            "Links to the other endpoints",
            descriptions.INDEX_PAGE,
            "open",
            gives={JSON: LINKS},
            redirects=True,
        ),
        Operation(
            "GET",
            "/favicon.ico",
            "forwardpass",
            "Icon of the pages",
            descriptions.ICON,
            "open",
            gives={"image/png": EMPTY},
        ),
        Operation(
            "GET",
            "/openapi.json",
            "forwardpass",
            "This description",
            descriptions.DOCUMENT,
            gives={JSON: OBJECT},
        ),
        Operation(
            "GET",
            "/docs",
            "forwardpass",
            "This description, to read and try",
            descriptions.PAGE,
            "open",
            gives={"text/html": TEXT},
        ),
        Operation(
            "GET",
            "/docs/{file}",
            "forwardpass",
            "Scripts and styles of /docs",
            descriptions.PAGE_PARTS,
            "open",
            parameters=({"$ref": "#/components/parameters/file"},),
            gives={"text/css": TEXT, "text/javascript": TEXT, "image/png": EMPTY},
            statuses=frozenset({404, 500}),
        ),
    ]


def _inference() -> list[Operation]:
    found: list[Operation] = [
        Operation(
            "GET",
            "/v2",
            "inference v2",
            "What the server is and can do",
            descriptions.SERVER,
            gives={JSON: _object(name=TEXT, version=TEXT, extensions=LIST)},
        ),
        Operation(
            "GET",
            "/v2/health/live",
            "inference v2",
            "Whether the server is alive",
            descriptions.ALIVE,
            "open",
            gives={JSON: _object(live=TRUTH)},
        ),
        Operation(
            "GET",
            "/v2/health/ready",
            "inference v2",
            "Whether a model is ready",
            descriptions.READY,
            "open",
            gives={JSON: _object(ready=TRUTH)},
            unready=True,
        ),
    ]
    for at, parameters in (("", (NAME,)), ("/versions/{version}", (NAME, VERSION))):
        model = f"/v2/models/{{name}}{at}"
        found += [
            Operation(
                "GET",
                model,
                "inference v2",
                "The tensors of a model",
                descriptions.FACE,
                parameters=parameters,
                gives={JSON: FACE},
                statuses=FINDING,
            ),
            Operation(
                "GET",
                f"{model}/ready",
                "inference v2",
                "Whether a model is ready",
                descriptions.MODEL_READY,
                parameters=parameters,
                gives={JSON: _object(name=TEXT, ready=TRUTH)},
                statuses=FINDING,
                unready=True,
            ),
            Operation(
                "POST",
                f"{model}/infer",
                "inference v2",
                "Predict from tensors",
                descriptions.TENSORS,
                parameters=(*parameters, TIMEOUT, JSON_BYTES),
                bodies={JSON: "tensors", OCTETS: EMPTY},
                gives={JSON: "outputs", OCTETS: EMPTY},
                statuses=PREDICTING,
            ),
        ]
    return found


def _administration() -> list[Operation]:
    model = "/v2/repository/models/{name}"
    return [
        Operation(
            "POST",
            "/v2/repository/index",
            "administration",
            "What has become of every version",
            descriptions.INDEX,
            bodies={JSON: ONLY_READY},
            gives={JSON: ENTRIES},
            statuses=ADMINISTERING,
            required=False,
        ),
        Operation(
            "POST",
            f"{model}/load",
            "administration",
            "Serve the newest version, and forget a rollback",
            descriptions.LOAD,
            "admin",
            parameters=(NAME,),
            bodies={JSON: OPTIONS},
            gives={JSON: DONE},
            statuses=ADMINISTERING,
            required=False,
        ),
        Operation(
            "POST",
            f"{model}/unload",
            "administration",
            "Serve a model no more",
            descriptions.UNLOAD,
            "admin",
            parameters=(NAME,),
            bodies={JSON: UNLOAD_OPTIONS},
            gives={JSON: DONE},
            statuses=ADMINISTERING,
            required=False,
        ),
        Operation(
            "POST",
            f"{model}/rollback",
            "administration",
            "Serve an earlier version, or the one that is named",
            descriptions.ROLLBACK,
            "admin",
            parameters=(NAME,),
            bodies={JSON: WHICH_VERSION},
            gives={JSON: DONE},
            statuses=ADMINISTERING,
            required=False,
        ),
    ]


def _tensorflow() -> list[Operation]:
    found: list[Operation] = []
    for at, parameters in (("", (NAME,)), ("/versions/{version}", (NAME, VERSION))):
        model = f"/v1/models/{{name}}{at}"
        statuses = _object(model_version_status={"type": "array", "items": STATUS})
        found += [
            Operation(
                "GET",
                model,
                "tensorflow",
                "Which versions of a model are served",
                descriptions.VERSIONS,
                parameters=parameters,
                gives={JSON: statuses},
                statuses=FINDING,
            ),
            Operation(
                "GET",
                f"{model}/metadata",
                "tensorflow",
                "The signature of a model",
                descriptions.SIGNATURE,
                parameters=parameters,
                statuses=FINDING,
                gives={JSON: _object(model_spec=OBJECT, metadata=OBJECT)},
            ),
            Operation(
                "POST",
                f"{model}:predict",
                "tensorflow",
                "Predict from instances or columns",
                descriptions.TENSORFLOW,
                parameters=(*parameters, TIMEOUT),
                bodies={JSON: "tensorflow"},
                gives={JSON: "predictions"},
                statuses=PREDICTING,
            ),
        ]
    return found


def _clouds(vertex: Vertex) -> list[Operation]:
    found = [
        Operation(
            "GET",
            "/ping",
            "clouds",
            "Whether a model is ready, for SageMaker",
            descriptions.READY,
            "open",
            unready=True,
        ),
        Operation(
            "POST",
            "/invocations",
            "clouds",
            "Predict, for SageMaker",
            descriptions.ROWS,
            parameters=(*QUERY, TIMEOUT),
            bodies=ROWS,
            gives=ANSWERS,
            statuses=PREDICTING,
        ),
    ]
    if vertex.health_route is not None:
        found.append(
            Operation(
                "GET",
                vertex.health_route,
                "clouds",
                "Whether a model is ready, for Vertex AI",
                descriptions.READY,
                "open",
                unready=True,
            )
        )
    if vertex.predict_route is not None:
        found.append(
            Operation(
                "POST",
                vertex.predict_route,
                "clouds",
                "Predict, for Vertex AI",
                descriptions.TENSORFLOW,
                parameters=(*QUERY, TIMEOUT),
                bodies={JSON: "tensorflow"},
                gives={JSON: "predictions"},
                statuses=PREDICTING,
            )
        )
    return found
