"""Columns that are called as the graph's outputs are: answered under their own names everywhere."""

import csv
import io
import json

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.ipc
import pytest

from serving import create_app
from serving.bundle import Manifest
from trainer.config import Config
from trainer.pipeline import fit
from trainer.score import score

COLUMNS = ("label", "value", "probabilities", "features", "label_input")
INPUTS = ("label_input_", "value_input", "probabilities_input", "features", "label_input")


def record(rng):
    return {
        "label": str(rng.choice(["red", "green", "blue"])),
        "value": round(float(rng.normal(5, 2)), 3),
        "probabilities": f"2024-0{rng.integers(1, 9)}-11",
        "features": str(rng.choice(["one", "two"])),
        "label_input": str(rng.choice(["x", "y"])),
    }


def as_csv(records):
    text = io.StringIO()
    writer = csv.DictWriter(text, records[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


@pytest.fixture(scope="module", params=["classification", "regression"])
def trained(request, tmp_path_factory):
    rng, folder = np.random.default_rng(3), tmp_path_factory.mktemp("named")
    records = [record(rng) for _ in range(240)]
    for r in records:
        gain = r["value"] + 3 * (r["label"] == "red")
        r["prediction"] = gain if request.param == "regression" else "yn"[gain > 6]
    (folder / "table.csv").write_text(as_csv(records))
    config = Config(
        data=str(folder / "table.csv"),
        target="prediction",
        models=folder / "models",
        epochs=3,
        hidden=(6,),
        skip_baselines=True,
    )
    made, _ = fit(config)
    return made, folder


def by_hand(client, records):
    """The answers to requests of every form, each by its own encoder."""
    columns = {name: [r[name] for r in records] for name in COLUMNS}
    sink = io.BytesIO()
    table = pa.table(columns)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    kinds = {"label": "BYTES", "value": "FP32", "features": "BYTES", "label_input": "BYTES"}
    name = client.get("/models").json["models"][0]["name"]
    yield client.post("/predict", json={"instances": records}).json["predictions"]
    yield client.post("/predict", json={"instances": [[*r.values()] for r in records]}).json[
        "predictions"
    ]
    text = {"Content-Type": "text/csv"}
    yield client.post("/predict", data=as_csv(records), headers=text).json["predictions"]
    arrow = {"Content-Type": "application/vnd.apache.arrow.stream"}
    yield client.post("/predict", data=sink.getvalue(), headers=arrow).json["predictions"]
    seconds = [np.datetime64(d, "s").astype(float) for d in columns["probabilities"]]
    tensors = [
        {
            "name": n,
            "shape": [len(records), 1],
            "datatype": kinds.get(n, "FP64"),
            "data": seconds if n == "probabilities" else columns[n],
        }
        for n in COLUMNS
    ]
    outputs = client.post(f"/v2/models/{name}/infer", json={"inputs": tensors}).json["outputs"]
    yield next(o["data"] for o in outputs if o["name"] in ("label", "value"))
    found = client.post(f"/v1/models/{name}:predict", json={"inputs": columns}).json["outputs"]
    values = found["label"] if isinstance(found, dict) else found
    yield np.ravel(values).tolist()


def test_column_names_every_body_format_uses_those_of_the_table(trained, tmp_path):
    made, folder = trained
    rng = np.random.default_rng(7)
    records = [record(rng) for _ in range(12)]
    client = create_app(models=folder / "models").test_client()
    answers = list(by_hand(client, records))
    (tmp_path / "in.csv").write_text(
        as_csv([{**r, "prediction": i} for i, r in enumerate(records)])
    )
    score(made, tmp_path / "in.csv", tmp_path / "out.jsonl", keep=["prediction"])
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [int(row["prediction_input"]) for row in rows] == list(range(12))
    expected = [row["prediction"] for row in rows]
    assert len(answers) == 6
    for found in answers:
        if isinstance(expected[0], str):
            assert list(found) == expected
        else:
            np.testing.assert_allclose(np.ravel(found), expected, rtol=1e-5)


def test_column_names_like_outputs_are_renamed_in_the_graph_only(trained):
    made, folder = trained
    graph = onnx.load_from_string(made.read_graph("fp32")).graph
    assert {i.name for i in graph.input} == set(INPUTS)
    assert set(made.read_selftest().inputs) == set(INPUTS)
    tensors = {c.name: c.tensor for c in made.manifest.inputs}
    assert tensors == {c: None if c == i else i for c, i in zip(COLUMNS, INPUTS, strict=True)}
    client = create_app(models=folder / "models").test_client()
    name = made.manifest.name
    face = client.get(f"/v2/models/{name}").json
    assert {tensor["name"] for tensor in face["inputs"]} == set(COLUMNS)
    assert client.get("/models").json["models"][0]["features"] == list(COLUMNS)
    described = client.get("/openapi.json").get_data(as_text=True)
    assert "label_input_" not in described
    assert client.post("/predict", json={"instances": [made.manifest.example]}).status_code == 200


def test_predict_missing_column_is_named_as_in_the_table(trained):
    _, folder = trained
    client = create_app(models=folder / "models").test_client()
    short = record(np.random.default_rng(0))
    del short["label"]
    answer = client.post("/predict", json={"instances": [short]})
    assert answer.status_code == 422
    text = answer.get_data(as_text=True)
    assert "label" in text
    assert "label_input_" not in text


@pytest.mark.parametrize(
    ("place", "tensor"), [(0, None), (0, "label_input"), (3, "probabilities"), (3, "value_input")]
)
def test_manifest_repeated_tensor_name_is_refused(place, tensor, trained):
    made, _ = trained
    content = made.manifest.model_dump(mode="json")
    content["inputs"][place]["tensor"] = tensor
    outputs = ("value",) if made.manifest.classes is None else ("label", "probabilities")
    if (tensor or COLUMNS[place]) in (*outputs, *INPUTS):
        with pytest.raises(ValueError, match="names of the graph's inputs that differ"):
            Manifest.model_validate(content)
    else:
        Manifest.model_validate(content)
