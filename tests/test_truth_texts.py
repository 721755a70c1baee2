"""A text of a truth value is declared once; every format, OpenAPI, training and score accept it."""

import csv
import io
import json
import re
import struct

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from click.testing import CliRunner

from serving.bundle import TRUTH_TEXTS, BooleanColumn, CategoryColumn, find_positive_index
from serving.codec.arrow_stream import decode_arrow
from serving.codec.csv import decode_csv
from serving.codec.input_schema import InputSchema
from serving.codec.json_fast import decode_json_fast
from serving.codec.json_strict import decode_json_strict
from serving.codec.messages import EncodedRequest
from serving.codec.open_inference import decode_inference_request
from serving.codec.tensorflow import decode_tensorflow_request
from serving.errors import InvalidInstancesError
from serving.http.openapi.column_schemas import build_value_schema
from trainer.cli import main
from trainer.config import Config
from trainer.evaluate.class_reader import ClassReader
from trainer.pipeline import fit

SPELLED = BooleanColumn(
    name="b", type="boolean", missing="refuse", texts={"yes": True, "no": False}
)
PLAIN = BooleanColumn(name="b", type="boolean", missing="refuse")
CATEGORY = CategoryColumn(
    name="b", type="category", missing="refuse", unseen="refuse", categories=["True", "False"]
)
# A second type of column, so that each column is an input of the graph by its own name.
OTHER = CategoryColumn(
    name="other", type="category", missing="impute", unseen="unknown", categories=["a"]
)
TEXTS = ["Wahr", "falsch", " WAHR ", "true"]
EXPECTED = {"boolean": [1, 0, 1, 1], "category": ["True", "False", "True", "True"]}


@pytest.fixture
def new_texts(monkeypatch):
    """Two more accepted texts, added to the one mapping."""
    monkeypatch.setitem(TRUTH_TEXTS, "wahr", True)
    monkeypatch.setitem(TRUTH_TEXTS, "falsch", False)


def to_json(**members):
    return json.dumps(members).encode()


def to_csv(texts):
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([["b", "other"], *([text, ""] for text in texts)])
    return stream.getvalue().encode()


def to_arrow(array):
    table, sink = pa.table({"b": array}), io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def tensor(texts, **members):
    return {"name": "b", "shape": [len(texts)], "datatype": "BYTES", **members}


def decode_binary_tensor(texts, schema):
    content = b"".join(struct.pack("<I", len(text)) + text.encode() for text in texts)
    size = {"binary_data_size": len(content)}
    head = to_json(inputs=[tensor(texts, parameters=size)])
    request = EncodedRequest(head + content, json_length=len(head))
    return decode_inference_request(request, schema).inputs


def decode_tensor(texts, schema):
    request = EncodedRequest(to_json(inputs=[tensor(texts, data=texts)]))
    return decode_inference_request(request, schema).inputs


def decode_columns(texts, schema):
    request = EncodedRequest(to_json(inputs={"b": texts}))
    return decode_tensorflow_request(request, schema).inputs


def records(texts):
    return to_json(instances=[{"b": text} for text in texts])


FORMATS = {
    "records, fast": lambda texts, schema: decode_json_fast(records(texts), schema),
    "records, strict": lambda texts, schema: decode_json_strict(records(texts), schema),
    "columns": decode_columns,
    "CSV": lambda texts, schema: decode_csv(to_csv(texts), schema),
    "Arrow": lambda texts, schema: decode_arrow(to_arrow(pa.array(texts)), schema),
    "Arrow, dictionary": lambda texts, schema: decode_arrow(
        to_arrow(pa.array(texts).dictionary_encode()), schema
    ),
    "Arrow, views": lambda texts, schema: decode_arrow(
        to_arrow(pa.array(texts, pa.string_view())), schema
    ),
    "tensor": decode_tensor,
    "binary tensor": decode_binary_tensor,
}


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("column", [SPELLED, CATEGORY], ids=["boolean", "category"])
def test_new_truth_text_is_accepted_in_every_format(format_name, column, new_texts):
    inputs = FORMATS[format_name](TEXTS, InputSchema([column, OTHER]))
    assert inputs["b"].ravel().tolist() == EXPECTED[column.type]


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("column", [SPELLED, CATEGORY], ids=["boolean", "category"])
def test_text_that_is_not_declared_is_refused_in_every_format(format_name, column):
    schema = InputSchema([column, OTHER])
    with pytest.raises(InvalidInstancesError):
        inputs = FORMATS[format_name](TEXTS, schema)
        assert inputs is None  # the fast decoder leaves it to the strict one
        FORMATS["records, strict"](TEXTS, schema)


def test_new_truth_text_is_accepted_in_csv_without_texts_in_the_manifest(new_texts):
    inputs = decode_csv(to_csv(TEXTS), InputSchema([PLAIN, OTHER]))
    assert inputs["b"].ravel().tolist() == [1, 0, 1, 1]


def test_new_truth_text_is_in_the_json_schema(new_texts):
    (_, texts) = build_value_schema(SPELLED)["anyOf"]
    assert all(re.search(texts["pattern"], text) for text in ("wahr", "Falsch", "true", "YES"))
    assert "wahr, falsch" in build_value_schema(SPELLED)["description"]


def test_new_truth_text_names_classes(new_texts):
    assert find_positive_index(["Falsch", "Wahr"]) == 1
    assert find_positive_index(["wahr", "falsch"]) == 0
    labels = ClassReader(["false", "true"], "y")
    found = labels.read(pa.array(["wahr", "Falsch", "1"]), 0, lambda *rows: ["row"])
    assert found.tolist() == [1, 0, 1]


def write_people(path, truths):
    rows = [(truths[i % 3 == 0], i % 7, "high" if i % 3 else "low") for i in range(120)]
    path.write_text("b,x,y\n" + "".join(f"{b},{x},{y}\n" for b, x, y in rows))
    return path


@pytest.mark.slow
def test_new_truth_text_is_accepted_by_score_and_training(new_texts, tmp_path):
    old = write_people(tmp_path / "old.csv", ("true", "false"))
    new = write_people(tmp_path / "new.csv", ("Wahr", "falsch"))
    options = dict(models=tmp_path / "models", epochs=2, hidden=(4,), skip_baselines=True)
    bundle, _ = fit(Config(data=str(old), **options))
    table = pa.csv.read_csv(new)
    assert table["b"].type == pa.string()
    pa.parquet.write_table(table, tmp_path / "new.parquet")
    answers = []
    for file in ("old.csv", "new.csv", "new.parquet"):
        output = tmp_path / "out.csv"
        done = CliRunner().invoke(
            main, ["score", str(bundle.path), str(tmp_path / file), "-o", str(output)]
        )
        assert done.exit_code == 0, done.output
        answers.append(output.read_bytes())
    assert answers[0] == answers[1] == answers[2]
    other, trained = fit(Config(data=str(new), name="other", **options))
    assert other.manifest.inputs[0].type == "boolean"
    np.testing.assert_array_equal(trained.table.records.column("b")[:4], [0, 1, 1, 0])
