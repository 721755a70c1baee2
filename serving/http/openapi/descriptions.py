"""Descriptions of operations, in Markdown: what a user has to know besides the schemas."""

from __future__ import annotations

LIMITS = """
- `503`: the server is overloaded, or no model is ready yet. Nothing was run. Try again, after
  `Retry-After` seconds if the answer has that header.
- `504`: the answer would have come after the deadline, which is `X-Request-Timeout` or the server's
  `--timeout`. Try again with more time."""
ROWS = f"""\
The body holds instances, in the format that `Content-Type` names.

- `application/json`: `{{"instances": [...]}}`. An instance is a record by column name, or a row of
  values in the order of the columns. `"parameters": {{"outputs": ["label"]}}` selects outputs.
- `text/csv`: UTF-8, one line per instance, values in the order of the columns. The first line may
  hold the column names. An empty value is a gap, that is a missing value.
- `application/octet-stream`: float32, little-endian, row by row, without a header. The size is 4
  bytes times the number of columns for each instance.
- `application/x-npy`: an array in the format of `numpy.save`, of shape (instances, columns), or
  (columns,) for one instance. Floats of 16, 32 or 64 bits, integers or booleans.
- `application/vnd.apache.arrow.stream`: columns by name, uncompressed. Nulls are gaps.

Raw float32 and NumPy's format work only for models whose columns are all numbers or booleans.
Bodies may be compressed with `Content-Encoding: gzip` or `zstd`. The answer is JSON; with
`Accept: text/csv` it is one line per instance without a header: the prediction, then the
probabilities.
{LIMITS}"""
TENSORS = f"""\
The Open Inference Protocol of KServe and Triton. A model whose columns are all numbers has one
input, `features`, of datatype FP32 and shape [instances, columns]. Any other model has one input
per column, of shape [instances, 1] or [instances], with texts as BYTES. Null is a gap, and so is
NaN in binary tensors.

Binary tensors follow the JSON, and `Inference-Header-Content-Length` is the length of the JSON in
bytes. If it is 0, the body is only the input: float32, little-endian, row by row. The outputs are
then binary tensors after the JSON of the answer.
{LIMITS}"""
TENSORFLOW = f"""\
The protocol of TensorFlow Serving. `{{"instances": [...]}}` is answered with `{{"predictions":
[...]}}`. An instance is a record by column name, a row of values in the order of the columns, or
`{{"features": [...]}}`. `{{"inputs": ...}}` is answered with `{{"outputs": ...}}`. Inputs are
columns by name, each a list of values, or the matrix `features` by itself. `"parameters":
{{"outputs": ["label"]}}` selects outputs.
{LIMITS}"""

ALIVE = """\
For liveness probes: 200 as long as the process answers, even if no model is served. It needs no
key."""
READY = """\
For readiness probes: 200 if at least one model is loaded and has passed its self-test, else 503. It
needs no key."""
READY_AND_WHY = f"""\
{READY} The body lists the versions that answer, those that are refused and why, and those that are
held: they have passed their self-test, but do not accept every input that the live version accepts.
If the server has keys, the body has these lists only for requests with a valid key."""
MODEL_READY = """\
200 if the model, or the given version of it, answers predictions. 404 if it is not served, and 503
if no model is served."""
MODELS = """\
Each model with the version and variant that answer, its task, classes, columns and self-test.
`default` marks the model that answers requests without a model name."""
MODEL = """\
The columns with their types, ranges, categories and rules for gaps; an example that the model
accepts; metrics on the held-out rows; for two classes the positive one and its threshold; and every
variant with its self-test, size and speed on this machine."""
METRICS = """\
Metrics in Prometheus' text format, summed over all workers, including those that have ended.
Counters start at 0 if their labels are known in advance; other series appear with their first
event."""
DOCUMENT = """\
An OpenAPI 3.1 document with the columns, categories and limits of the served models."""
INDEX_PAGE = """\
Links to the other endpoints, as JSON. Browsers, which accept `text/html` explicitly, are redirected
to `/docs`. It needs no key."""
ICON = """\
The icon that browsers request by default. It needs no key."""
PAGE = """\
Swagger UI. It loads nothing from other hosts. If the server has keys, the page asks for one in a
form, and keeps it in memory until it is closed or reloaded. An address such as
`/docs#/forwardpass/post_predict` opens at that operation."""
PAGE_PARTS = """\
Scripts, styles and the icon of `/docs`."""
SERVER = """\
Name and version of the server, and the extensions of the Open Inference Protocol that it supports,
by Triton's names: binary tensors, the model repository, statistics and configurations."""
MODEL_METADATA = """\
Names, datatypes and shapes of inputs and outputs, with -1 for the number of instances, and the
versions that can be requested by number. `--keep` sets how many there are."""
INDEX = """\
Every version in the repository with its state: `READY`, `LOADING`, `UNLOADING`, or `UNAVAILABLE`
with the reason, for example a failed self-test, or that the version is held. Ignored folders whose
names look like a version follow. With `{"ready": true}` only versions that answer are listed."""
RELOAD_LIMITS = """\
`503` with `Retry-After`: a worker did not finish the self-test of the version in time, and nothing
has changed.

The change outlasts a restart of the server. The answer is sent once one worker has made the change;
idle workers follow within about 30 ms. Requests that have begun are answered by the version with
which they began."""
LOAD = f"""\
Looks for new versions now, runs the self-test of the highest and serves it, even if it is held
because it does not accept every input that the live version accepts. It also ends a rollback or an
unload. `409`: the version fails its self-test, and the version that was served before still is.
{RELOAD_LIMITS}"""
UNLOAD = f"""\
Serves no version of the model until `load`, even if new versions are added to its folder. Triton's
parameter `unload_dependents` has no effect, since no model depends on another. {RELOAD_LIMITS}"""
ROLLBACK = f"""\
Pins the version before the one that answers: until `load`, no higher version answers requests that
name no version, not even a new one. Each further rollback goes back by one more version.
`{{"parameters": {{"version": 2}}}}` pins that version instead, whether it is lower or higher; if it
answers already, it is only pinned. `404`: the folder has no such version. `409`: there is no
earlier version, or it fails its self-test. {RELOAD_LIMITS}"""
VERSIONS = """\
The versions that can be requested by number; `--keep` sets how many there are. Their state is
always `AVAILABLE`, because others are not listed."""
SIGNATURE = """\
Inputs and outputs of `serving_default`, the only signature, in the format of TensorFlow Serving."""
STATISTICS = """\
Triton's statistics of each served version since the server started, summed over all workers:
instances answered (`inference_count`), successful and failed requests, and the time of each stage
in nanoseconds if only one version of the model has received requests. Values that this server does
not count are left out."""
CONFIG = """\
Triton's configuration of a model: its tensors, without the dimension of the rows. `max_batch_size`
is the largest number of rows of one batch; a single request may have more."""
TRACES = """\
Triton's trace settings. Tracing is off, since this server keeps no traces; a change is refused with
`400`. `/metrics` has the time of each stage."""
LOGGING = """\
Triton's log settings, which follow from `--log-level`. A change is refused with `400`: the level is
set when the server starts."""
SHARED_MEMORY = """\
Triton's shared memory, which this server does not support: the list of regions is empty, and
registering a region is refused with `400`. Send binary tensors instead."""
