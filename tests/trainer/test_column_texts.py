"""Dates and truth values in the spelling of the file: trained on, served, scored."""

import csv
import json
import struct
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from click.testing import CliRunner

from serving import create_app
from serving.bundle import Bundle
from trainer.cli import main
from trainer.compress.load_trained import load_trained
from trainer.config import Config
from trainer.pipeline import fit

ROWS = 240
JOINED = [date(2024, 1, 1) + timedelta(days=3 * row) for row in range(ROWS)]
PAID = [(row * 7) % 5 < 2 for row in range(ROWS)]
COLUMNS = {  # the same values in three spellings
    "iso": ([day.isoformat() for day in JOINED], [str(paid).lower() for paid in PAID]),
    "local": ([day.strftime("%d/%m/%Y") for day in JOINED], ["Yes" if p else "no" for p in PAID]),
    "typed": (JOINED, PAID),
}
TARGET = ["Y" if (day.month > 6) ^ paid else "N" for day, paid in zip(JOINED, PAID, strict=True)]
QUICK = dict(epochs=3, hidden=(4,), skip_baselines=True)


def table_of(spelling):
    joined, paid = COLUMNS[spelling]
    return {"joined": joined, "paid": paid}


def write_csv(path, columns):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A bundle that was trained on the local spelling, and the folder of its models."""
    folder = tmp_path_factory.mktemp("spellings")
    data = write_csv(folder / "data.csv", {**table_of("local"), "left": TARGET})
    bundle, trained = fit(Config(data=str(data), models=folder / "models", **QUICK))
    return bundle, trained, folder / "models"


def test_fit_records_how_the_file_writes_dates_and_truth_values(made):
    bundle, trained, _ = made
    joined, paid = bundle.manifest.inputs
    assert (joined.type, joined.format, joined.minimum[:4]) == ("date", "%d/%m/%Y", "2024")
    assert (paid.type, paid.texts) == ("boolean", {"yes": True, "no": False})
    assert bundle.manifest.classes == ["N", "Y"]
    seconds = [(day - date(1970, 1, 1)).days * 86_400 for day in JOINED]
    np.testing.assert_array_equal(trained.table.records.column("joined"), seconds)
    np.testing.assert_array_equal(trained.table.records.column("paid"), PAID)


def test_fit_the_spelling_changes_no_weight(made, tmp_path):
    data = write_csv(tmp_path / "data.csv", {**table_of("iso"), "left": TARGET})
    other, _ = fit(Config(data=str(data), models=tmp_path / "models", **QUICK))
    assert other.read_graph("fp32") == made[0].read_graph("fp32")


def answers(client, body, kind):
    answer = client.post("/predict", data=body, headers={"Content-Type": kind})
    assert answer.status_code == 200, answer.text
    return answer.json["probabilities"]


def tensors(columns):
    return {
        "inputs": [
            {"name": name, "shape": [ROWS, 1], "datatype": "BYTES", "data": values}
            for name, values in columns.items()
        ]
    }


def test_every_format_and_score_answer_every_spelling_alike(made, tmp_path):
    bundle, trained, models = made
    client = create_app(models=models).test_client()
    expected = trained.model.answers(trained.table.records)["probabilities"]

    def same(found):
        np.testing.assert_allclose(np.array(found), expected, rtol=1e-5)

    for spelling in ("iso", "local"):
        columns = table_of(spelling)
        records = [
            dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
        ]
        same(answers(client, json.dumps({"instances": records}), "application/json"))
        infer = client.post("/v2/models/data/infer", json=tensors(columns)).json
        (found,) = (out["data"] for out in infer["outputs"] if out["name"] == "probabilities")
        same(np.reshape(found, (ROWS, 2)))
        texts = [
            b"".join(struct.pack("<I", len(t)) + t.encode() for t in c) for c in columns.values()
        ]
        head = tensors(columns)
        for each, content in zip(head["inputs"], texts, strict=True):
            del each["data"]
            each["parameters"] = {"binary_data_size": len(content)}
        head = json.dumps(head).encode()
        infer = client.post(
            "/v2/models/data/infer",
            data=b"".join([head, *texts]),
            headers={
                "Inference-Header-Content-Length": str(len(head)),
                "Content-Type": "application/octet-stream",
            },
        ).json
        (found,) = (out["data"] for out in infer["outputs"] if out["name"] == "probabilities")
        same(np.reshape(found, (ROWS, 2)))
        text = write_csv(tmp_path / f"{spelling}.csv", columns)
        same(answers(client, text.read_bytes(), "text/csv"))
    for spelling in COLUMNS:
        table = pa.table(table_of(spelling))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
        same(answers(client, sink.getvalue().to_pybytes(), "application/vnd.apache.arrow.stream"))
        pa.parquet.write_table(table, tmp_path / f"{spelling}.parquet")
    for file in ("iso.csv", "local.csv", "iso.parquet", "local.parquet", "typed.parquet"):
        output = tmp_path / "out.csv"
        done = CliRunner().invoke(
            main, ["score", str(bundle.path), str(tmp_path / file), "-o", str(output)]
        )
        assert done.exit_code == 0, (file, done.output)
        scored = pa.csv.read_csv(output)
        same(np.column_stack([scored[f"probability_{c}"] for c in ("N", "Y")]))


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"joined": "22/13/2025", "paid": "yes"}, "a date written %d/%m/%Y, in ISO 8601"),
        ({"joined": "22/06/2025", "paid": "maybe"}, "true or false, or 'yes', 'no'"),
        ({"joined": "22/06/2025", "paid": "y"}, "true or false, or 'yes', 'no'"),
    ],
)
def test_what_is_in_no_spelling_is_refused_by_server_and_score(made, tmp_path, record, said):
    bundle, _, models = made
    answer = create_app(models=models).test_client().post("/predict", json={"instances": [record]})
    assert answer.status_code == 422
    assert said in answer.json["error"].replace('"', "'")
    new = write_csv(tmp_path / "new.csv", {name: [value] for name, value in record.items()})
    done = CliRunner().invoke(
        main, ["score", str(bundle.path), str(new), "-o", str(tmp_path / "o.csv")]
    )
    assert done.exit_code == 1
    assert "row 2" in done.stderr


def test_reopen_keeps_categories_that_are_read_otherwise_now(made, tmp_path):
    """Of a bundle from before, whose texts were categories."""
    data = write_csv(tmp_path / "data.csv", {**table_of("local"), "left": TARGET})
    options = dict(data=str(data), models=tmp_path / "models", **QUICK)
    bundle, _ = fit(Config(**options, category=("joined", "paid")))
    manifest = bundle.manifest
    before = manifest.training.model_copy(
        update={"config": {**manifest.training.config, "category": []}}
    )
    old = Bundle(bundle.path, manifest.model_copy(update={"training": before}))
    assert [column.kind for column in load_trained(old).table.records.columns] == ["category"] * 2


def test_boolean_that_is_said_may_be_of_one_word_or_mixed(tmp_path):
    paid = ["Y", "no", "T", "off"] * 60
    data = write_csv(tmp_path / "data.csv", {"paid": paid, "x": range(ROWS), "left": TARGET})
    bundle, trained = fit(
        Config(data=str(data), models=tmp_path / "models", boolean=("paid",), **QUICK)
    )
    assert len(bundle.manifest.inputs[0].texts) == 8
    np.testing.assert_array_equal(trained.table.records.column("paid"), [1, 0, 1, 0] * 60)
    assert bundle.manifest.classes == ["N", "Y"]


def test_a_target_said_to_be_boolean_keeps_the_words_of_the_file(tmp_path):
    data = write_csv(tmp_path / "data.csv", {"x": range(ROWS), "left": TARGET})
    bundle, _ = fit(Config(data=str(data), models=tmp_path / "models", boolean=("left",), **QUICK))
    assert bundle.manifest.classes == ["N", "Y"]
