"""Dates and truth values in the spelling of a file, from training to serving and scoring."""

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
SPELLINGS = {  # the same values in three spellings
    "iso": ([day.isoformat() for day in JOINED], [str(paid).lower() for paid in PAID]),
    "local": ([day.strftime("%d/%m/%Y") for day in JOINED], ["Yes" if p else "no" for p in PAID]),
    "typed": (JOINED, PAID),
}
TARGET = ["Y" if (day.month > 6) ^ paid else "N" for day, paid in zip(JOINED, PAID, strict=True)]
FAST_OPTIONS = dict(epochs=3, hidden=(4,), skip_baselines=True)


def get_columns(spelling):
    joined, paid = SPELLINGS[spelling]
    return {"joined": joined, "paid": paid}


def write_csv(path, columns):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a bundle trained on the local spelling, its run, and the folder of the models."""
    folder = tmp_path_factory.mktemp("spellings")
    data = write_csv(folder / "data.csv", {**get_columns("local"), "left": TARGET})
    bundle, run = fit(Config(data=str(data), models=folder / "models", **FAST_OPTIONS))
    return bundle, run, folder / "models"


def test_fit_local_spelling_is_declared_in_the_manifest(trained):
    bundle, run, _ = trained
    joined, paid = bundle.manifest.inputs
    assert (joined.type, joined.format, joined.minimum[:4]) == ("date", "%d/%m/%Y", "2024")
    assert (paid.type, paid.texts) == ("boolean", {"yes": True, "no": False})
    assert bundle.manifest.classes == ["N", "Y"]
    seconds = [(day - date(1970, 1, 1)).days * 86_400 for day in JOINED]
    np.testing.assert_array_equal(run.table.records.column("joined"), seconds)
    np.testing.assert_array_equal(run.table.records.column("paid"), PAID)


def test_fit_other_spelling_changes_no_weight(trained, tmp_path):
    data = write_csv(tmp_path / "data.csv", {**get_columns("iso"), "left": TARGET})
    other, _ = fit(Config(data=str(data), models=tmp_path / "models", **FAST_OPTIONS))
    assert other.read_graph("fp32") == trained[0].read_graph("fp32")


def predict(client, body, media_type):
    response = client.post("/predict", data=body, headers={"Content-Type": media_type})
    assert response.status_code == 200, response.text
    return response.json["probabilities"]


def create_infer_request(columns):
    return {
        "inputs": [
            {"name": name, "shape": [ROWS, 1], "datatype": "BYTES", "data": values}
            for name, values in columns.items()
        ]
    }


def test_predict_and_score_any_format_and_spelling_give_the_same_answers(trained, tmp_path):
    bundle, run, models = trained
    client = create_app(models=models).test_client()
    expected = run.model.answers(run.table.records)["probabilities"]

    def assert_expected(probabilities):
        np.testing.assert_allclose(np.array(probabilities), expected, rtol=1e-5)

    for spelling in ("iso", "local"):
        columns = get_columns(spelling)
        records = [
            dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
        ]
        assert_expected(predict(client, json.dumps({"instances": records}), "application/json"))
        infer = client.post("/v2/models/data/infer", json=create_infer_request(columns)).json
        (values,) = (out["data"] for out in infer["outputs"] if out["name"] == "probabilities")
        assert_expected(np.reshape(values, (ROWS, 2)))
        texts = [
            b"".join(struct.pack("<I", len(t)) + t.encode() for t in c) for c in columns.values()
        ]
        head = create_infer_request(columns)
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
        (values,) = (out["data"] for out in infer["outputs"] if out["name"] == "probabilities")
        assert_expected(np.reshape(values, (ROWS, 2)))
        text = write_csv(tmp_path / f"{spelling}.csv", columns)
        assert_expected(predict(client, text.read_bytes(), "text/csv"))
    for spelling in SPELLINGS:
        table = pa.table(get_columns(spelling))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
        assert_expected(
            predict(client, sink.getvalue().to_pybytes(), "application/vnd.apache.arrow.stream")
        )
        pa.parquet.write_table(table, tmp_path / f"{spelling}.parquet")
    for file in ("iso.csv", "local.csv", "iso.parquet", "local.parquet", "typed.parquet"):
        output = tmp_path / "out.csv"
        result = CliRunner().invoke(
            main, ["score", str(bundle.path), str(tmp_path / file), "-o", str(output)]
        )
        assert result.exit_code == 0, (file, result.output)
        scored = pa.csv.read_csv(output)
        assert_expected(np.column_stack([scored[f"probability_{c}"] for c in ("N", "Y")]))


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"joined": "22/13/2025", "paid": "yes"}, "a date written %d/%m/%Y, in ISO 8601"),
        ({"joined": "22/06/2025", "paid": "maybe"}, "true or false, or 'yes', 'no'"),
        ({"joined": "22/06/2025", "paid": "y"}, "true or false, or 'yes', 'no'"),
    ],
)
def test_predict_and_score_value_in_no_spelling_is_refused(trained, tmp_path, record, message):
    bundle, _, models = trained
    client = create_app(models=models).test_client()
    response = client.post("/predict", json={"instances": [record]})
    assert response.status_code == 422
    assert message in response.json["error"].replace('"', "'")
    new = write_csv(tmp_path / "new.csv", {name: [value] for name, value in record.items()})
    result = CliRunner().invoke(
        main, ["score", str(bundle.path), str(new), "-o", str(tmp_path / "o.csv")]
    )
    assert result.exit_code == 1
    assert "row 2" in result.stderr


def test_load_trained_bundle_of_categories_keeps_them_although_they_look_like_dates(tmp_path):
    """An older version trained such a bundle, since it read these texts as categories."""
    data = write_csv(tmp_path / "data.csv", {**get_columns("local"), "left": TARGET})
    options = dict(data=str(data), models=tmp_path / "models", **FAST_OPTIONS)
    bundle, _ = fit(Config(**options, category=("joined", "paid")))
    manifest = bundle.manifest
    old_training = manifest.training.model_copy(
        update={"config": {**manifest.training.config, "category": []}}
    )
    old_bundle = Bundle(bundle.path, manifest.model_copy(update={"training": old_training}))
    columns = load_trained(old_bundle).table.records.columns
    assert [column.kind for column in columns] == ["category"] * 2


def test_fit_boolean_by_option_may_mix_words_of_several_pairs(tmp_path):
    paid = ["Y", "no", "T", "off"] * 60
    data = write_csv(tmp_path / "data.csv", {"paid": paid, "x": range(ROWS), "left": TARGET})
    bundle, run = fit(
        Config(data=str(data), models=tmp_path / "models", boolean=("paid",), **FAST_OPTIONS)
    )
    assert len(bundle.manifest.inputs[0].texts) == 8
    np.testing.assert_array_equal(run.table.records.column("paid"), [1, 0, 1, 0] * 60)
    assert bundle.manifest.classes == ["N", "Y"]


def test_fit_boolean_target_by_option_keeps_the_words_of_the_file(tmp_path):
    data = write_csv(tmp_path / "data.csv", {"x": range(ROWS), "left": TARGET})
    bundle, _ = fit(
        Config(data=str(data), models=tmp_path / "models", boolean=("left",), **FAST_OPTIONS)
    )
    assert bundle.manifest.classes == ["N", "Y"]
