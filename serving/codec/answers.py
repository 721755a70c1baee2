"""Answers: the graph's outputs as a JSON body, straight from the arrays."""

from __future__ import annotations

import orjson

from serving.bundle import Arrays, Manifest

OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE


def encode_answers(manifest: Manifest, outputs: Arrays) -> bytes:
    """The body of an answer.

    Args:
        manifest: of the version that answered.
        outputs: `label` `(n,)` and `probabilities` `(n, k)`, or `value` `(n, t)`.

    Returns:
        `{"model", "version", "predictions": [n]}`, for classifiers with `"probabilities": [n][k]`.
        Floats have the fewest digits that read back as the same float32.
    """
    answer: dict[str, object] = {"model": manifest.name, "version": manifest.version}
    if "value" in outputs:
        value = outputs["value"]
        # One target: a number per instance, not a list of one.
        answer["predictions"] = value[:, 0].copy() if value.shape[1] == 1 else value
    else:
        label = outputs["label"]
        answer["predictions"] = label.tolist() if label.dtype.kind == "U" else label
        answer["probabilities"] = outputs["probabilities"]
    return orjson.dumps(answer, option=OPTIONS)
