"""Descriptions: what a user has to know of each operation beside its schemas, in Markdown."""

from __future__ import annotations

LIMITS = """
- `503`: the server has more to do than it takes on, or no model is ready yet. Nothing was run; ask
  again, after `Retry-After` seconds where that is given.
- `504`: the answer would have come after the seconds of `X-Request-Timeout`, or of the server's
  `--timeout`. It is not given any more; ask again with more time."""
ROWS = f"""\
The body holds instances; `Content-Type` tells how.

- `application/json`: `{{"instances": [...]}}`, each a record by the columns' names, or a row of
  values in the order of the columns. `"parameters": {{"outputs": ["label"]}}` chooses outputs.
- `text/csv`: UTF-8, a line an instance, values in the order of the columns, with or without the
  columns' names in the first line. An empty value is a gap.
- `application/octet-stream`: float32, little-endian, row after row, and nothing else: 4 bytes times
  the number of columns for each instance.
- `application/x-npy`: an array as `numpy.save` writes it, of the shape (instances, columns), or
  (columns,) for one; floats of 16, 32 or 64 bits, integers or booleans.
- `application/vnd.apache.arrow.stream`: columns by name, uncompressed; nulls are gaps.

Raw float32 and NumPy's format are for models whose columns are all numbers or booleans; the others
are for all. `Content-Encoding: gzip` or `zstd` is unpacked. The answer is JSON; `Accept: text/csv`
gets a line an instance without a header: the prediction, then the probabilities.
{LIMITS}"""
TENSORS = f"""\
The Open Inference Protocol of KServe and Triton. A model whose columns are all numbers has one
input, `features`, FP32 of the shape [instances, columns]; any other has an input for each
column, of the shape [instances, 1] or [instances], texts as BYTES. Null, and NaN in binary, is
a gap.

Binary tensors follow the JSON, whose length is in `Inference-Header-Content-Length`. Where that is
0, the body is the one input alone: float32, little-endian, row after row; the outputs are then
binary tensors behind the JSON of the answer.
{LIMITS}"""
TENSORFLOW = f"""\
TensorFlow Serving's protocol. `{{"instances": [...]}}` is answered with `{{"predictions":
[...]}}`: an instance is a record by the columns' names, a row of values in their order, or
`{{"features": [...]}}`. `{{"inputs": ...}}` is answered with `{{"outputs": ...}}`: inputs are
columns by name, a list of values each, or the matrix `features` alone. `"parameters":
{{"outputs": ["label"]}}` chooses outputs.
{LIMITS}"""

ALIVE = """\
200 as long as the process answers, whether or not a model is served: for liveness probes. It needs
no key."""
READY = """\
200 if at least one model is loaded and has passed its self-test, else 503: for readiness probes. It
needs no key."""
READY_AND_WHY = f"""\
{READY} The body names the versions that answer, why others are refused, and which are held: they
proved themselves, but do not accept all that the live version accepts. Where the server has keys,
it does so only for a request with one of them."""
MODEL_READY = """\
200 if the model, or that version of it, answers predictions. Otherwise 404 where it is not served,
503 where no model is."""
MODELS = """\
Each model with the version and variant that answer, its task, classes, columns and self-test;
`default` marks the one that answers requests that name no model."""
MODEL = """\
The columns with their types, ranges, categories and rules for gaps; an example that is answered
as it stands; metrics on the held-out rows; of two classes the positive one, and the
threshold from which it is answered; and every variant with its self-test, size and speed on this
machine."""
METRICS = """\
Over all workers, including those that died, in Prometheus' text format. Counters start at 0 where
their labels are known beforehand; other series appear with their first event."""
DOCUMENT = """\
OpenAPI 3.1, made for the models that are served now: their columns, categories and limits."""
INDEX_PAGE = """\
Links to the other endpoints, as JSON. A browser, which accepts `text/html` by name, is redirected
to `/docs`. It needs no key."""
ICON = """\
The icon that browsers ask for by themselves. It needs no key."""
PAGE = """\
Swagger UI. It asks no other host for anything. Where the server has keys it asks for one in a form,
and keeps it in memory until it is closed or reloaded. An address such as
`/docs#/forwardpass/post_predict` opens at that operation."""
PAGE_PARTS = """\
Scripts, styles and the icon of `/docs`."""
SERVER = """\
The server's name and version, and the extensions of the Open Inference Protocol that it knows, by
Triton's names: binary tensors, the model repository, statistics and configurations."""
FACE = """\
Names, datatypes and shapes of inputs and outputs, -1 for the number of instances, and the versions
that can be asked for by number, as many as `--keep` says."""
INDEX = """\
Every version in the repository: `READY`, `LOADING`, `UNLOADING`, or `UNAVAILABLE` and the
reason, such as a self-test that does not reproduce, or that it is held. Folders that could have
been meant as a version and are ignored follow, by their names. `{"ready": true}` lists those that
answer alone."""
KEPT = """\
`503` with `Retry-After`: a worker neither proved the version nor refused it in time; nothing has
changed.

This outlives a restart. It is answered once it is done in one worker; the others follow at their
next turn, within some 30 ms where they are idle. Requests that had begun are answered by the
version they began with."""
LOAD = f"""\
Looks for versions now, proves the highest and serves it, also one that is held since it does not
accept all that the live version accepts; ends what a rollback pinned and an unload took away.
`409`: that version does not prove itself; what was served before still is.
{KEPT}"""
UNLOAD = f"""\
No version of it answers until `load`, whatever comes into its folder. Triton's parameter
`unload_dependents` makes no difference: no model depends on another. {KEPT}"""
ROLLBACK = f"""\
Pins the version before the one that answers: until `load`, no higher one answers requests that
name no version, not even one that is new. Each further rollback goes back by one more.
`{{"parameters": {{"version": 2}}}}` pins that version instead, a lower or a higher one; if it
answers already, it is merely pinned. `404`: the folder holds no such version. `409`: there is no
earlier version, or it does not prove itself. {KEPT}"""
VERSIONS = """\
Those that can be asked for by number, as many as `--keep` says. All are `AVAILABLE`: others are not
listed."""
SIGNATURE = """\
Inputs and outputs of `serving_default`, the only signature, as TensorFlow Serving has them."""
STATISTICS = """\
Triton's statistics of each served version since the server started, over all workers: instances
answered (`inference_count`), requests that went well and that failed, and seconds of each stage in
nanoseconds, of a model of which one version has been asked. What is not counted is left out."""
CONFIG = """\
Triton's configuration of a model: its tensors, without the dimension of rows. `max_batch_size` is
the number of rows that are joined in one run; a request may have more."""
TRACES = """\
Triton's trace settings: off, since this server keeps no traces. A change is refused with `400`;
what each stage takes is in `/metrics`."""
LOGGING = """\
Triton's log settings, as `--log-level` has them. A change is refused with `400`: the level is
chosen when the server is started."""
SHARED_MEMORY = """\
Triton's shared memory, of which this server has none: the list of regions is empty, to register one
is refused with `400`, and there is nothing to unregister. Send binary tensors."""
