"""Summaries and descriptions of operations: what a user has to know besides the schemas."""

from __future__ import annotations

from collections.abc import Sequence

from serving.bundle import Manifest
from serving.http.routes import Description

MAX_LISTED = 20  # models and classes that the introduction lists

_INTRODUCTION = """\
This server answers requests for predictions. On the page `/docs` you can send each request that is
listed below: open it, press **Try it out**, then **Execute**.

"""
_FIRST_STEPS = """

**How to begin**

1. `POST /predict` answers with predictions. Its example works as it stands. If there are several
   models, choose the model and the example of the same name.
2. `GET /models/{name}` shows which columns a model expects, and which values it accepts.
3. The other groups answer the same models in the protocols of other servers. You need them only if
   your client speaks one of these protocols.

A padlock marks requests that need an API key if the server requires keys; the requests of
*administration* that change something always need a key with the scope admin. A key that you gave
this page is sent with every request; **Authorize** sets another one."""
TAG_DESCRIPTIONS = {
    "forwardpass": "Predictions, models, health and metrics: all that a new client needs",
    "inference v2": "The same models in the Open Inference Protocol of KServe and Triton",
    "administration": "Load, unload and roll back versions of models",
    "tensorflow": "The same models in the protocol of TensorFlow Serving",
    "clouds": "Paths that SageMaker and Vertex AI ask for",
    "triton": "Triton's statistics and configurations, and settings that this server does not have",
}


def describe_server(models: Sequence[Manifest], default_model: str | None) -> str:
    """Return the introduction of the document, in Markdown.

    Args:
        models: Manifests of the served models.
        default_model: Name of the model that serves requests without a model name; None if
            there is none.
    """
    if not models:
        return f"{_INTRODUCTION}**No model is served at the moment.** `GET /readyz` says why."
    lines = [_describe_model(manifest, default_model) for manifest in models[:MAX_LISTED]]
    if len(models) > MAX_LISTED:
        lines.append(f"- and {len(models) - MAX_LISTED} more, which `GET /models` lists")
    return _INTRODUCTION + "**Served models**\n\n" + "\n".join(lines) + _FIRST_STEPS


def _describe_model(manifest: Manifest, default_model: str | None) -> str:
    """Return a line on a model: its name, version, target and number of columns."""
    count = len(manifest.inputs)
    columns = "1 column" if count == 1 else f"{count:,} columns"
    target = ", ".join(f"`{name}`" for name in manifest.data.target)
    classes = manifest.classes or []
    listed = ", ".join(f"`{name}`" for name in classes[:MAX_LISTED])
    more = ", …" if len(classes) > MAX_LISTED else ""
    values = f" ({listed}{more})" if classes else ""
    version = f"`{manifest.name}`, version {manifest.version}"
    line = f"- {version}: predicts {target}{values}, from {columns}"
    return f"{line}; the default model" if manifest.name == default_model else line


_OVERLOAD_ERRORS = """
- `503`: the server is overloaded, or no model is ready yet. Nothing was run. Try again, after
  `Retry-After` seconds if the answer has that header.
- `504`: the answer would have come after the deadline, which is `X-Request-Timeout` or the server's
  `--timeout`. Try again with more time."""
_ROWS = f"""\
The body holds instances, which are rows of data; the answer has a prediction for each. The format
is the one that `Content-Type` names.

- `application/json`: `{{"instances": [...]}}`. An instance is a record by column name, or a row of
  values in the order of the columns. `"parameters": {{"outputs": ["label"]}}` selects outputs.
- `text/csv`: UTF-8, one line per instance, values in the order of the columns. The first line may
  hold the column names. An empty value is a missing value.
- `application/octet-stream`: float32, little-endian, row by row, without a header. The size is 4
  bytes times the number of columns for each instance.
- `application/x-npy`: an array in the format of `numpy.save`, of shape (instances, columns), or
  (columns,) for one instance. Floats of 16, 32 or 64 bits, integers or booleans.
- `application/vnd.apache.arrow.stream`: columns by name, uncompressed. Nulls are
  missing values.

Raw float32 and NumPy's format work only for models whose columns are all numbers or booleans.
Bodies may be compressed with `Content-Encoding: gzip` or `zstd`. The answer is JSON; with
`Accept: text/csv` it is one line per instance without a header: the prediction, then the
probabilities.
{_OVERLOAD_ERRORS}"""
PREDICT_ROWS = Description("Predict (start here)", _ROWS)
PREDICT_SAGEMAKER = Description("Predict, as SageMaker sends it", _ROWS)
PREDICT_TENSORS = Description(
    "Predict from tensors (KServe, Triton)",
    f"""\
The Open Inference Protocol of KServe and Triton. A model whose columns are all numbers has one
input, `features`, of datatype FP32 and shape [instances, columns]. Any other model has one input
per column, of shape [instances, 1] or [instances], with texts as BYTES. Nulls, and NaN in binary
tensors, are missing values.

Binary tensors follow the JSON, and `Inference-Header-Content-Length` is the length of the JSON in
bytes. If it is 0, the body is only the input: float32, little-endian, row by row. The outputs are
then binary tensors after the JSON of the answer.
{_OVERLOAD_ERRORS}""",
)
_TENSORFLOW = f"""\
The protocol of TensorFlow Serving. `{{"instances": [...]}}` is answered with `{{"predictions":
[...]}}`. An instance is a record by column name, a row of values in the order of the columns, or
`{{"features": [...]}}`. `{{"inputs": ...}}` is answered with `{{"outputs": ...}}`. Inputs are
columns by name, each a list of values, or the matrix `features` by itself. `"parameters":
{{"outputs": ["label"]}}` selects outputs.
{_OVERLOAD_ERRORS}"""
PREDICT_INSTANCES = Description(
    "Predict from instances or columns (TensorFlow Serving)", _TENSORFLOW
)
PREDICT_VERTEX = Description("Predict, as Vertex AI sends it", _TENSORFLOW)

ALIVE = Description(
    "Check that the server process answers",
    """\
For liveness probes: 200 as long as the process answers, even if no model is served. It needs no
key.""",
)
_READY = """\
For readiness probes: 200 if at least one model is loaded and has passed its self-test, else 503. It
needs no key."""
READY = Description("Check that at least one model is ready", _READY)
READY_SAGEMAKER = Description("Check that at least one model is ready, for SageMaker", _READY)
READY_VERTEX = Description("Check that at least one model is ready, for Vertex AI", _READY)
READY_WITH_REASONS = Description(
    "Check that at least one model is ready; list refused and held versions",
    f"""\
{_READY} The body lists the live version of each model, the refused versions with the reason, and
the held versions: they have passed their self-test, but do not accept every input that the live
version accepts. If the server requires API keys, a request without a valid key does not get these
lists.""",
)
MODEL_READY = Description(
    "Check that this model is ready",
    """\
200 if the model, or the given version of it, can serve predictions. 404 if it is not served, and
503 if no model is served.""",
)
MODELS = Description(
    "List the served models",
    """\
Each model with its live version, the variant that is served, its task, classes, columns and
self-test. `default` marks the model that serves requests without a model name.""",
)
MODEL = Description(
    "Describe a model: its columns, an example, its metrics",
    """\
The columns with their types, ranges and categories, and whether missing values are accepted; an
example that the model accepts; metrics on the test rows; and every variant with its self-test, size
and speed on this machine.

- `positive`, `threshold`: with two classes, the positive class, and the probability from which on
  it is predicted.
- `aim`, `aim_unmet`: the objective by which the threshold was chosen, and the reason if no
  threshold meets it.
- `numbers` of a date column: how a number is read, for example as seconds since 1970.
- `why`: the reason why the variant in `variant` is served.
- `never_answered` of a variant: the classes in the test rows that it never predicted.""",
)
METRICS = Description(
    "Get metrics for Prometheus",
    """\
Metrics in Prometheus' text format, summed over all workers, including those that have ended.
Counters start at 0 if their labels are known in advance; other series appear with their first
event.""",
)
OPENAPI_DOCUMENT = Description(
    "Get this description as JSON (OpenAPI 3.1)",
    """\
An OpenAPI 3.1 document with the columns, categories and limits of the served models.""",
)
INDEX_PAGE = Description(
    "List the main paths of the server",
    """\
Links to the main paths, as JSON. Browsers, which accept `text/html` explicitly, are redirected
to `/docs`. It needs no key.""",
)
ICON = Description(
    "Get the icon of the pages",
    """\
The icon that browsers request by default. It needs no key.""",
)
DOCS_PAGE = Description(
    "Open this page",
    """\
Swagger UI. It loads nothing from other hosts. If the server requires API keys, the page asks for a
key and keeps it in memory until the page is closed or reloaded. A URL with a fragment, such as
`/docs#/forwardpass/post_predict`, opens the page at that operation.""",
)
DOCS_FILE = Description(
    "Get a file of this page",
    """\
Scripts, styles and the icon of `/docs`.""",
)
SERVER = Description(
    "Get the server's name, version and extensions",
    """\
Name and version of the server, and the extensions of the Open Inference Protocol that it supports,
by Triton's names: binary tensors, the model repository, statistics and configurations.""",
)
MODEL_METADATA = Description(
    "Describe the input and output tensors of a model",
    """\
Names, datatypes and shapes of inputs and outputs, with -1 for the number of instances, and the
versions that can be requested by number. `--keep` sets how many there are.""",
)
INDEX = Description(
    "List all versions of all models with their states",
    """\
Every version in the repository with its state: `READY`, `LOADING`, `UNLOADING`, or `UNAVAILABLE`
with the reason, for example a failed self-test, or that the version is held. Folders that are
ignored although their names resemble a version number come last. With `{"ready": true}` only
versions in the state `READY` are listed.""",
)
_RELOAD_NOTES = """\
`503` with `Retry-After`: a worker did not finish the self-test of the version in time, and nothing
has changed.

The change outlasts a restart of the server. The answer is sent once one worker has made the change;
idle workers follow within about 30 ms. A request that is in progress during the change is completed
by the version that it started with."""
LOAD = Description(
    "Load: serve the newest version, and end a rollback",
    f"""\
Scans the folder for new versions and serves the one with the highest number if it passes its
self-test, even if it was held because it does not accept every input that the live version accepts.
This also ends a rollback or an unload. `409`: the version failed its self-test; the previous
version is still served.
{_RELOAD_NOTES}""",
)
UNLOAD = Description(
    "Unload: stop serving a model",
    f"""\
Serves no version of the model until `load`, even if new versions are added to its folder. Triton's
parameter `unload_dependents` has no effect, since no model depends on another. {_RELOAD_NOTES}""",
)
ROLLBACK = Description(
    "Roll back: serve the previous version, or a given one",
    f"""\
Pins the version below the live one: until `load` is called, the pinned version serves all requests
without a version number, even if a higher version is added. Each further rollback goes back by one
more version. `{{"parameters": {{"version": 2}}}}` pins that version instead, whether it is lower or
higher; if that version is already live, it is pinned and nothing else changes. `404`: the folder
has no such version. `409`: there is no earlier version, or it failed its self-test.
{_RELOAD_NOTES}""",
)
VERSIONS = Description(
    "List the served versions of a model",
    """\
The versions that can be requested by number; `--keep` sets how many there are. Their state is
always `AVAILABLE`, because other versions are not listed.""",
)
SIGNATURE = Description(
    "Describe the inputs and outputs of a model (TensorFlow)",
    """\
Inputs and outputs of `serving_default`, the only signature, in TensorFlow Serving's format.""",
)
_STATISTICS = """\
Triton's statistics of each served version since the server started, summed over all workers:
predicted instances (`inference_count`), successful and failed requests, and the time of each stage
in nanoseconds if only one version of the model has received requests. Values that this server does
not count are left out."""
ALL_STATISTICS = Description("Get statistics of all models", _STATISTICS)
STATISTICS = Description("Get statistics of a model", _STATISTICS)
CONFIG = Description(
    "Get the configuration of a model",
    """\
Triton's configuration of a model: its tensors, without the batch dimension. `max_batch_size` is the
largest number of rows of one batch; a single request may have more.""",
)
_TRACES = """\
Triton's trace settings. Tracing is off, since this server keeps no traces; a change is refused with
`400`. `/metrics` has the time of each stage."""
TRACES = Description("Get trace settings (tracing is always off)", _TRACES)
CHANGE_TRACES = Description("Change trace settings (not supported)", _TRACES)
_LOGGING = """\
Triton's log settings, which `--log-level` determines. A change is refused with `400`: the level is
set when the server starts."""
LOGGING = Description("Get log settings", _LOGGING)
CHANGE_LOGGING = Description("Change log settings (not supported)", _LOGGING)
_SHARED_MEMORY = """\
Triton's shared memory, which this server does not support: the list of regions is empty, and
registering a region is refused with `400`. Send binary tensors instead."""
LIST_REGIONS = Description("List shared memory (not supported: always empty)", _SHARED_MEMORY)
DESCRIBE_REGION = Description("Describe a region of shared memory (not supported)", _SHARED_MEMORY)
REGISTER_REGION = Description("Register a region of shared memory (not supported)", _SHARED_MEMORY)
UNREGISTER_REGION = Description(
    "Unregister shared memory (not supported: nothing to do)", _SHARED_MEMORY
)
