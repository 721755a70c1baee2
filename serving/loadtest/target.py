"""The target of a load test: a server, one of its models, and the columns that model takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args
from urllib.parse import quote, urlsplit

import orjson

from serving.loadtest.http_client import (
    ServerAddress,
    UnusableServerError,
    fetch,
    format_url,
    quote_error_body,
)

ColumnKind = Literal["number", "boolean", "category", "date"]
AUTH_STATUSES = (401, 403)


@dataclass(frozen=True)
class SchemaColumn:
    """An input column of the model, as `GET /models/NAME` describes it.

    Attributes:
        name: Name of the column.
        kind: "number", "boolean", "category" or "date".
        accepts_missing: Whether null is accepted and imputed.
        is_whole: Whether all numbers of the training data are whole.
        minimum: Smallest value of the training data: a number, or a date in ISO 8601; None for
            other kinds.
        maximum: Largest value of the training data, like `minimum`.
        categories: Categories known to the model; empty for other kinds.
        accepts_unseen: Whether categories that are not in `categories` are accepted.
        dtype: Type of the numbers, "float32" or "float64".
        boolean_texts: Value of each text accepted for a boolean, in lower case, besides "true" and
            "false".
        date_format: Format of dates besides ISO 8601, as in the bundle's manifest.
        missing_texts: Texts that stand for a missing value in CSV, in lower case, besides the
            empty text; None for the default list.
    """

    name: str
    kind: ColumnKind
    accepts_missing: bool
    is_whole: bool = False
    minimum: float | str | None = None
    maximum: float | str | None = None
    categories: tuple[str, ...] = ()
    accepts_unseen: bool = False
    dtype: str = "float32"
    boolean_texts: Mapping[str, bool] = field(default_factory=dict)
    date_format: str = "iso8601"
    missing_texts: tuple[str, ...] | None = None


@dataclass(frozen=True)
class LoadTarget:
    """A server, and the model that requests are sent to.

    Attributes:
        address: Address of the server.
        base_path: Prefix of all paths, for a server behind a proxy: "" or "/…".
        model: Name of the model.
        is_only_model: Whether the server has no other model, so that requests need not name it.
        version: Live version of the model before the load test.
        task: "binary", "multiclass" or "regression".
        classes: Classes of a classifier; empty for a regression.
        targets: Names of the predicted columns.
        columns: Input columns, in the order of a row.
        example: A record that the model accepts.
        headers: Headers with the API key; empty without one.
        has_metrics: Whether the server exposes its own timings at `/metrics`.
    """

    address: ServerAddress
    base_path: str
    model: str
    is_only_model: bool
    version: int
    task: str
    classes: tuple[int, ...] | tuple[str, ...]
    targets: tuple[str, ...]
    columns: tuple[SchemaColumn, ...]
    example: Mapping[str, Any]
    headers: Mapping[str, str] = field(repr=False)
    has_metrics: bool

    @property
    def has_single_input(self) -> bool:
        """Whether the model has one float32 input for all columns, not one input per column."""
        return all(
            column.kind in ("number", "boolean") and column.dtype == "float32"
            for column in self.columns
        )

    def get(self, path: str) -> tuple[int, bytes]:
        """Send a GET request, and return the status and the body. Raises as `fetch` does."""
        status, _, body = fetch(self.address, self.base_path + path, self.headers)
        return status, body

    def post(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        """Send a POST request, and return the status and the body. Raises as `fetch` does."""
        all_headers = {**self.headers, **headers}
        status, _, answer = fetch(self.address, self.base_path + path, all_headers, body)
        return status, answer


def read_target(
    url: str, *, model: str | None = None, key: str | None = None, ca_file: str | None = None
) -> LoadTarget:
    """Read the model and its columns from a server.

    Args:
        url: URL of the server, for example `http://127.0.0.1:8000`, with the path prefix of a proxy
            if there is one.
        model: Name of the model; None if the server has only one.
        key: API key of the scope predict, or None.
        ca_file: PEM file of certificates to trust instead of the system's, or None.

    Raises:
        UnusableServerError: If the server cannot be reached, is not a forwardpass server, requires
            a key, is not ready, or has several models or none of that name.
    """
    address, base_path = _parse_url(url, ca_file)
    headers = _build_auth_headers(key)
    names = [entry.get("name") for entry in _list_models(address, base_path, headers)]
    name = _select_model(names, model, format_url(address) + base_path)
    details = _get_json(address, f"{base_path}/models/{quote(name, safe='')}", headers)
    status, _, metrics = fetch(address, f"{base_path}/metrics", headers)
    try:
        return LoadTarget(
            address=address,
            base_path=base_path,
            model=name,
            is_only_model=len(names) == 1,
            version=int(details["version"]),
            task=str(details["task"]),
            classes=tuple(details["classes"] or ()),
            targets=tuple(details["targets"]),
            columns=tuple(_parse_column(entry, details["example"]) for entry in details["inputs"]),
            example=details["example"],
            headers=headers,
            has_metrics=status == 200 and b"forwardpass_" in metrics,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnusableServerError(
            f"expected version, task, classes, targets, inputs and example of the model at "
            f"{format_url(address)}{base_path}/models/{name}; got one missing or of another type: "
            f"{error!r}; server and client may be of different versions"
        ) from None


def _parse_url(url: str, ca_file: str | None) -> tuple[ServerAddress, str]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    has_extra_parts = parts.query or parts.fragment or parts.username or parts.password
    # The head of a request can only hold printable ASCII.
    is_printable = re.fullmatch(r"[!-~]*", parts.netloc + parts.path)
    is_http = parts.scheme in ("http", "https")
    if not is_http or not parts.hostname or has_extra_parts or not is_printable:
        raise UnusableServerError(f"expected a URL such as http://127.0.0.1:8000; got {url!r}")
    use_tls = parts.scheme == "https"
    if ca_file is not None and not use_tls:
        raise UnusableServerError(f"expected a URL with https:// when --ca is given; got {url!r}")
    if port is None:
        port = 443 if use_tls else 80
    return ServerAddress(parts.hostname, port, use_tls, ca_file), parts.path.rstrip("/")


def _build_auth_headers(key: str | None) -> dict[str, str]:
    if key is None:
        return {}
    if not re.fullmatch(r"[!-~]+", key):
        raise UnusableServerError(
            "expected a key of printable ASCII characters without spaces; got other characters"
        )
    return {"Authorization": f"Bearer {key}"}


def _list_models(
    address: ServerAddress, base_path: str, headers: Mapping[str, str]
) -> list[dict[str, Any]]:
    models = _get_json(address, f"{base_path}/models", headers).get("models")
    if not isinstance(models, list) or not all(isinstance(entry, dict) for entry in models):
        raise _foreign_server_error(address, f"{base_path}/models", "other JSON")
    if not models:
        _, _, readiness = fetch(address, f"{base_path}/readyz", headers)
        raise UnusableServerError(
            f"expected a ready server at {format_url(address)}{base_path}; got one without a "
            f"model: {quote_error_body(readiness)}; wait until it has loaded one, or read its log"
        )
    return models


def _get_json(address: ServerAddress, path: str, headers: Mapping[str, str]) -> dict[str, Any]:
    """Return the JSON object at a path of the server."""
    status, response_headers, body = fetch(address, path, headers)
    if status in AUTH_STATUSES:
        given = "one that is not accepted" if headers else "none"
        raise UnusableServerError(
            f"expected a key for {format_url(address)}{path}; got {given} ({status}: "
            f"{quote_error_body(body)}); give a key of the scope predict with --key KEY"
        )
    if status == 503:
        raise UnusableServerError(
            f"expected a ready server at {format_url(address)}{path}; got 503: "
            f"{quote_error_body(body)}; wait until it is ready, and try again"
        )
    if status != 200:
        location = response_headers.get("Location")
        found = f"{status} with a redirect to {location}" if location else str(status)
        raise _foreign_server_error(address, path, found)
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        media_type = response_headers.get("Content-Type", "no JSON")
        raise _foreign_server_error(address, path, media_type) from None
    if not isinstance(content, dict):
        raise _foreign_server_error(address, path, "other JSON")
    return content


def _foreign_server_error(address: ServerAddress, path: str, found: str) -> UnusableServerError:
    return UnusableServerError(
        f"expected a forwardpass server, which lists its models at {format_url(address)}{path}; "
        f"got {found}; check the address, and the path prefix"
    )


def _select_model(names: list[Any], model: str | None, url: str) -> str:
    if model is None and len(names) == 1:
        return str(names[0])
    if model in names:
        return cast(str, model)
    listed = ", ".join(map(str, names))
    if model is None:
        raise UnusableServerError(f"expected --model, one of {listed} at {url}; got none")
    raise UnusableServerError(f"expected a model out of {listed} at {url}; got {model!r}")


def _parse_column(entry: Mapping[str, Any], example: Mapping[str, Any]) -> SchemaColumn:
    kind, missing = entry["type"], entry["missing"]
    if kind not in get_args(ColumnKind) or missing not in ("refuse", "impute"):
        raise ValueError(f"an input of type {kind!r} with missing values {missing!r}")
    return SchemaColumn(
        name=entry["name"],
        kind=kind,
        accepts_missing=missing == "impute",
        # The example holds an integer if all numbers of the training data are whole.
        is_whole=kind == "number" and type(example.get(entry["name"])) is int,
        minimum=entry.get("minimum"),
        maximum=entry.get("maximum"),
        categories=tuple(entry.get("categories", ())),
        accepts_unseen=entry.get("unseen") == "unknown",
        dtype=entry.get("dtype", "float32"),
        boolean_texts=entry.get("texts", {}),
        date_format=entry.get("format", "iso8601"),
        missing_texts=None if entry.get("gaps") is None else tuple(entry["gaps"]),
    )
