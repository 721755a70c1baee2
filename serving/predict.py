"""The prediction path: bytes → arrays → ONNX Runtime → bytes. Every protocol calls it."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np

from serving.bundle import Arrays
from serving.codec.answers import encode_answers
from serving.codec.fields import Fields
from serving.codec.json_rows import decode_rows
from serving.errors import NotFiniteAnswerError
from serving.repository import ServedModel
from serving.runtime import run_in_slices

ROWS_A_RUN = 4096

# Made once a model, and gone with it.
_fields: WeakKeyDictionary[ServedModel, Fields] = WeakKeyDictionary()


def predict(model: ServedModel, body: bytes) -> bytes:
    """Answer a JSON body of instances.

    Args:
        model: who answers.
        body: `{"instances": [{…} or […], …]}`, records or rows in the order of the columns.

    Returns:
        The JSON answer, one prediction per instance, in order.

    Raises:
        NotJsonError: the body is not JSON.
        InvalidInstancesError: an instance is not what the model takes.
        NotFiniteAnswerError: an instance is too large for float32 arithmetic.
    """
    fields = _fields.get(model)
    if fields is None:
        fields = _fields[model] = Fields(model.manifest.inputs)
    # In slices: what the runtime once took for a large batch, it keeps.
    outputs = run_in_slices(model.session, decode_rows(body, fields), ROWS_A_RUN)
    _refuse_overflow(outputs)
    return encode_answers(model.manifest, outputs)


def _refuse_overflow(outputs: Arrays) -> None:
    # Finite rows can overflow on the way, and JSON has no word for the NaN that comes out.
    answers = outputs["value" if "value" in outputs else "probabilities"]
    finite = np.isfinite(answers)
    if not finite.all():
        first = int(np.flatnonzero(~finite.all(axis=1))[0])
        raise NotFiniteAnswerError(
            f"expected numbers of the size the model was trained on; got an instance {first} so "
            f"large that its answer overflows float32; check its units",
            instance=first,
        )
