"""The prediction path: bytes → rows → ONNX Runtime → bytes. Every protocol calls it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from serving.bundle import Arrays
from serving.codec.answers import encode_answers
from serving.codec.json_rows import decode_rows
from serving.errors import NotFiniteAnswerError
from serving.repository import ServedModel
from serving.runtime import Session

ROWS_A_RUN = 4096


def predict(model: ServedModel, body: bytes) -> bytes:
    """Answer a JSON body of rows.

    Args:
        model: who answers.
        body: `{"instances": [[…], …]}`.

    Returns:
        The JSON answer, one prediction per instance, in order.

    Raises:
        NotJsonError: the body is not JSON.
        InvalidInstancesError: an instance is not what the model takes.
        NotFiniteAnswerError: an instance is too large for float32 arithmetic.
    """
    rows = decode_rows(body, model.fields)
    outputs = _run(model.session, rows)
    _refuse_overflow(outputs)
    return encode_answers(model.manifest, outputs)


def _run(session: Session, rows: NDArray[np.float32]) -> Arrays:
    # In slices: what the runtime once took for a large batch, it keeps.
    slices = [
        session.run({"features": rows[start : start + ROWS_A_RUN]})
        for start in range(0, max(len(rows), 1), ROWS_A_RUN)
    ]
    if len(slices) == 1:
        return slices[0]
    return {name: np.concatenate([part[name] for part in slices]) for name in slices[0]}


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
