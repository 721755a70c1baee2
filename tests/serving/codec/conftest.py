"""Models for the tests of the codec, and a function that damages encoded bodies."""

from types import SimpleNamespace

import pytest
from hypothesis import strategies as st

from serving.bundle import BooleanColumn, CategoryColumn, DateColumn, Manifest, NumberColumn
from serving.codec.input_schema import InputSchema

SHA = "0" * 64


def make_manifest(columns, classes, target=("y",)):
    return Manifest.model_validate(
        {
            "schema_version": 1,
            "name": "m",
            "version": 17,
            "created": "2026-01-01T00:00:00Z",
            "task": "regression" if classes is None else "multiclass",
            "inputs": [column.model_dump() for column in columns],
            "classes": classes,
            "threshold": None,
            "parameters": 1,
            "metrics": {},
            "variants": {
                "fp32": {
                    "file": "model.onnx",
                    "sha256": SHA,
                    "size_bytes": 1,
                    "metrics": {},
                    "latency_us": {},
                    "parity": {"rows": 1, "max_abs": 0, "max_rel": 0, "label_agreement": 1},
                }
            },
            "files": {"selftest.npz": SHA, "reference.json": SHA},
            "data": {"source": "", "fingerprint": "0", "target": list(target), "rows": {}},
            "training": {"config": {}, "epochs_run": 1, "best_epoch": 1, "seconds": 1},
            "libraries": {},
        }
    )


def number(name, missing="refuse"):
    return NumberColumn(name=name, type="number", missing=missing, minimum=0, maximum=1)


VECTOR = [
    number("x"),
    BooleanColumn(name="y", type="boolean", missing="impute"),
    number("z", "impute"),
]
TABLE = [
    number("age", "impute"),
    BooleanColumn(name="member", type="boolean", missing="impute"),
    CategoryColumn(
        name="work",
        type="category",
        missing="impute",
        unseen="unknown",
        categories=["private", "state"],
    ),
    CategoryColumn(
        name="grade", type="category", missing="refuse", unseen="refuse", categories=["1", "2"]
    ),
    DateColumn(
        name="since", type="date", missing="impute", minimum="2000-01-01", maximum="2024-01-01"
    ),
]


def make_model(columns, *manifest_arguments):
    schema, manifest = InputSchema(columns), make_manifest(columns, *manifest_arguments)
    return SimpleNamespace(schema=schema, manifest=manifest)


@pytest.fixture(scope="session")
def numeric_model():
    """A model with a single input: numbers `x` and `z`, boolean `y`; `y` and `z` accept gaps."""
    return make_model(VECTOR, [0, 1])


@pytest.fixture(scope="session")
def mixed_model():
    """A model with a column of each type; all accept gaps but `grade`."""
    return make_model(TABLE, ["no", "yes"])


@pytest.fixture(scope="session")
def regression():
    """A regression model of three numbers and two targets."""
    columns = [number("a"), number("b"), number("c")]
    return make_model(columns, None, ("left", "right"))


@pytest.fixture(scope="session")
def damage():
    """A function that draws a body with some bytes changed, removed or repeated."""

    def draw(data, body):
        body = bytearray(body)
        for _ in range(data.draw(st.integers(1, 4))):
            place = data.draw(st.integers(0, max(len(body) - 1, 0)))
            match data.draw(st.integers(0, 4)):
                case 0:
                    body[place : place + 1] = bytes([data.draw(st.integers(0, 255))])
                case 1:
                    body[place : place + 1] = data.draw(
                        st.sampled_from([b"[", b"]", b'"', b",", b"{", b"}", b"\\", b"1", b"e9"])
                    )
                case 2:
                    length = data.draw(st.sampled_from([1, 2, 4, 8, 16]))
                    del body[place : place + length]
                case 3:
                    length = data.draw(st.sampled_from([1, 2, 4, 8, 16]))
                    body[place:place] = body[place : place + length]
                case _:
                    body[place : place + 4] = data.draw(
                        st.sampled_from(
                            [b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(4), b"\0\0\0\x80"]
                        )
                    )
        return bytes(body)

    return draw
