"""The server under load: where it is, and what it says of the model that is asked."""

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
    """One value of a record, as the server tells it.

    Attributes:
        name: of the column.
        kind: of its values.
        fills_gaps: whether null may stand for a value.
        whole: whether its numbers are whole.
        minimum: of the training rows; a number, or a date in ISO 8601; None of other kinds.
        maximum: likewise.
        categories: texts that the model tells apart; none of other kinds.
        takes_unseen: whether it takes other texts, too.
        dtype: Type of its numbers, "float32" or "float64".
        texts: Truth value of each text, in lower case, beside `true` and `false`.
        format: Date format beside ISO 8601, as in the manifest.
        gaps: Texts, in lower case, that stand for a gap beside the empty one; None for the usual.
    """

    name: str
    kind: ColumnKind
    fills_gaps: bool
    whole: bool = False
    minimum: float | str | None = None
    maximum: float | str | None = None
    categories: tuple[str, ...] = ()
    takes_unseen: bool = False
    dtype: str = "float32"
    texts: Mapping[str, bool] = field(default_factory=dict)
    format: str = "iso8601"
    gaps: tuple[str, ...] | None = None


@dataclass(frozen=True)
class LoadTarget:
    """A server, and the model of it that is asked.

    Attributes:
        address: where it listens.
        base: what comes before its paths, as behind a proxy; "" or "/…".
        model: name of the model.
        alone: whether the server has no other, so that a request need not name it.
        version: that answered when it was asked.
        task: "binary", "multiclass" or "regression".
        classes: that are told apart; none of a regression.
        targets: names of what is predicted.
        columns: of a record, in the order of a row.
        example: a record that it answers.
        headers: that let a request pass; none if there is no key.
        metrics: whether the server tells its own times at /metrics.
    """

    address: ServerAddress
    base: str
    model: str
    alone: bool
    version: int
    task: str
    classes: tuple[int, ...] | tuple[str, ...]
    targets: tuple[str, ...]
    columns: tuple[SchemaColumn, ...]
    example: Mapping[str, Any]
    headers: Mapping[str, str] = field(repr=False)
    metrics: bool

    @property
    def all_numbers(self) -> bool:
        """Whether the model takes a row as one vector, or each column by itself."""
        return all(
            column.kind in ("number", "boolean") and column.dtype == "float32"
            for column in self.columns
        )

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of a path of the server; raises as `fetch` does."""
        status, _, body = fetch(self.address, self.base + path, self.headers)
        return status, body

    def post(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        """Status and body of what is answered to a body; raises as `fetch` does."""
        both = {**self.headers, **headers}
        status, _, answer = fetch(self.address, self.base + path, both, body)
        return status, answer


def read_target(
    url: str, *, model: str | None = None, key: str | None = None, ca: str | None = None
) -> LoadTarget:
    """What there is to know of a server before it is put under load.

    Args:
        url: such as `http://127.0.0.1:8000`; with a path where the server is behind one.
        model: name of the model to ask; None for the only one.
        key: that the server knows, of the scope predict.
        ca: a file of certificates to trust instead of the system's.

    Raises:
        TargetError: the server cannot be reached, is of another kind, wants a key, is not ready, or
            has several models or none of that name.
    """
    address, base = _parse_url(url, ca)
    headers = _build_auth_headers(key)
    names = [each.get("name") for each in _list_models(address, base, headers)]
    name = _select_model(names, model, format_url(address) + base)
    said = _get_json(address, f"{base}/models/{quote(name, safe='')}", headers)
    status, _, metrics = fetch(address, f"{base}/metrics", headers)
    try:
        return LoadTarget(
            address=address,
            base=base,
            model=name,
            alone=len(names) == 1,
            version=int(said["version"]),
            task=str(said["task"]),
            classes=tuple(said["classes"] or ()),
            targets=tuple(said["targets"]),
            columns=tuple(_parse_column(column, said["example"]) for column in said["inputs"]),
            example=said["example"],
            headers=headers,
            metrics=status == 200 and b"forwardpass_" in metrics,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnusableServerError(
            f"expected a model of version, task, classes, targets, inputs and example at "
            f"{format_url(address)}{base}/models/{name}; got it without, or of another "
            f"form: {error!r}; "
            "server and client may be of different versions"
        ) from None


def _parse_url(url: str, ca: str | None) -> tuple[ServerAddress, str]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    more = parts.query or parts.fragment or parts.username or parts.password
    # What is not printed in ASCII cannot be said in a request's head.
    plain = re.fullmatch(r"[!-~]*", parts.netloc + parts.path)
    if parts.scheme not in ("http", "https") or not parts.hostname or more or not plain:
        raise UnusableServerError(f"expected a URL such as http://127.0.0.1:8000; got {url!r}")
    tls = parts.scheme == "https"
    if ca is not None and not tls:
        raise UnusableServerError(f"expected a URL with https:// beside --ca; got {url!r}")
    if port is None:
        port = 443 if tls else 80
    return ServerAddress(parts.hostname, port, tls, ca), parts.path.rstrip("/")


def _build_auth_headers(key: str | None) -> dict[str, str]:
    if key is None:
        return {}
    if not re.fullmatch(r"[!-~]+", key):
        raise UnusableServerError(
            "expected a key of printable ASCII without spaces; got another text"
        )
    return {"Authorization": f"Bearer {key}"}


def _list_models(
    address: ServerAddress, base: str, headers: Mapping[str, str]
) -> list[dict[str, Any]]:
    said = _get_json(address, f"{base}/models", headers)
    models = said.get("models")
    if not isinstance(models, list) or not all(isinstance(each, dict) for each in models):
        raise _unexpected_server_error(address, f"{base}/models", "JSON of another form")
    if not models:
        _, _, why = fetch(address, f"{base}/readyz", headers)
        raise UnusableServerError(
            f"expected a server that is ready at {format_url(address)}{base}; got one "
            "without a model: "
            f"{quote_error_body(why)}; wait until it has loaded one, or look at its log"
        )
    return models


def _get_json(address: ServerAddress, path: str, headers: Mapping[str, str]) -> dict[str, Any]:
    """The object that the server tells at a path."""
    status, about, body = fetch(address, path, headers)
    if status in AUTH_STATUSES:
        came = "one that does not open it" if headers else "none"
        raise UnusableServerError(
            f"expected a key for {format_url(address)}{path}; got {came} ({status}: "
            f"{quote_error_body(body)}); "
            "give --key KEY of the scope predict"
        )
    if status == 503:
        raise UnusableServerError(
            f"expected a server that is ready at {format_url(address)}{path}; got 503: "
            f"{quote_error_body(body)}; "
            "wait until it is, and try again"
        )
    if status != 200:
        where = about.get("Location")
        raise _unexpected_server_error(address, path, f"{status}{f' to {where}' if where else ''}")
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise _unexpected_server_error(
            address, path, about.get("Content-Type", "no JSON")
        ) from None
    if not isinstance(said, dict):
        raise _unexpected_server_error(address, path, "JSON of another form")
    return said


def _unexpected_server_error(address: ServerAddress, path: str, came: str) -> UnusableServerError:
    return UnusableServerError(
        "expected a server of this project, which tells its models at "
        f"{format_url(address)}{path}; got "
        f"{came}; check the address, and the path that leads to it"
    )


def _select_model(names: list[Any], model: str | None, url: str) -> str:
    if model is None and len(names) == 1:
        return str(names[0])
    if model in names:
        return cast(str, model)
    listed = ", ".join(map(str, names))
    if model is None:
        raise UnusableServerError(f"expected --model out of {listed}, which {url} serves; got none")
    raise UnusableServerError(
        f"expected a model out of {listed}, which {url} serves; got {model!r}"
    )


def _parse_column(said: Mapping[str, Any], example: Mapping[str, Any]) -> SchemaColumn:
    kind, missing = said["type"], said["missing"]
    if kind not in get_args(ColumnKind) or missing not in ("refuse", "impute"):
        raise ValueError(f"an input of type {kind!r} whose gaps are for {missing!r}")
    return SchemaColumn(
        name=said["name"],
        kind=kind,
        fills_gaps=missing == "impute",
        # An example is written without a fraction where no training row has one.
        whole=kind == "number" and type(example.get(said["name"])) is int,
        minimum=said.get("minimum"),
        maximum=said.get("maximum"),
        categories=tuple(said.get("categories", ())),
        takes_unseen=said.get("unseen") == "unknown",
        dtype=said.get("dtype", "float32"),
        texts=said.get("texts", {}),
        format=said.get("format", "iso8601"),
        gaps=None if said.get("gaps") is None else tuple(said["gaps"]),
    )
