"""One answer, three ways: the NumPy pipeline, `trainer score`, and POST /predict."""

from __future__ import annotations

import csv
import datetime
import json
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest

from serving import create_app
from serving.bundle import Bundle
from trainer.config import Config
from trainer.data.records import Column, Records
from trainer.pipeline import fit
from trainer.score import score

COLUMNS = (
    Column("age"),
    Column("job", "category"),
    Column("town", "category"),
    Column("member", "boolean"),
    Column("since", "date"),
)
GAPS, UNSEEN = 0.15, 0.1
TASKS = ("pay", "income")  # classes, and a value


def person(rng: np.random.Generator) -> dict:
    """A record as a client would write it."""
    return {
        "age": float(np.float32(rng.normal(45, 12))),
        "job": str(rng.choice(["cook", "nurse", "pilot", "clerk, senior", "zoo Ärztin"])),
        "town": f"town {rng.zipf(1.3) % 90}",
        "member": bool(rng.random() < 0.4),
        "since": (
            datetime.date(2015, 1, 1) + datetime.timedelta(int(rng.integers(3000)))
        ).isoformat(),
    }


def write(path: Path, people: list[dict]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, people[0].keys())
        writer.writeheader()
        for record in people:
            writer.writerow({k: "" if v is None else v for k, v in record.items()})
    return path


@pytest.fixture(scope="session", params=TASKS)
def trained(request, tmp_path_factory):
    rng, folder = np.random.default_rng(1), tmp_path_factory.mktemp("people")
    people = [person(rng) for _ in range(1500)]
    for record in people:
        value = record["age"] + 9 * (record["job"] == "nurse") + rng.normal(0, 5)
        is_class = request.param == "pay"
        record[request.param] = ("high" if value > 48 else "low") if is_class else value * 1000
    file = write(folder / "people.csv", people)
    config = Config(
        data=str(file),
        models=folder / "models",
        runs=folder / "runs",
        epochs=8,
        hidden=(32, 16),
        gaps="impute",
        skip_baselines=True,
        calibrate=request.param == "pay",
        positive="high" if request.param == "pay" else None,
        aim="f1" if request.param == "pay" else None,
    )
    bundle, found = fit(config)
    return bundle, found.model, folder


def spoiled(rng: np.random.Generator, count: int) -> list[dict]:
    """Records with gaps and categories never seen."""
    people = [person(rng) for _ in range(count)]
    for record in people:
        for name in record:
            if rng.random() < GAPS:
                record[name] = None
            elif name in ("job", "town") and rng.random() < UNSEEN:
                record[name] = f"never seen {rng.integers(5)}"
    return people


def as_records(people: list[dict]) -> Records:
    """By hand, without the code that reads files."""
    words = {n: sorted({p[n] for p in people if p[n] is not None}) for n in ("job", "town")}
    numbers = [[np.nan if p[n] is None else float(p[n]) for n in ("age", "member")] for p in people]
    dates = [
        [np.nan if p["since"] is None else np.datetime64(p["since"], "s").astype(float)]
        for p in people
    ]
    codes = [[-1 if p[n] is None else words[n].index(p[n]) for n in words] for p in people]
    columns = tuple(Column(c.name, c.kind, tuple(words.get(c.name, ()))) for c in COLUMNS)
    return Records(columns, np.float32(numbers), np.float64(dates), np.int32(codes))


def alike(found: dict, expected: dict) -> None:
    for name, wanted in expected.items():
        if name == "label":
            assert list(found[name]) == wanted.tolist()
        else:
            np.testing.assert_allclose(found[name], wanted, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".csv", ".parquet", ".jsonl"])
def test_score_every_file_format_equals_numpy(ending, trained, tmp_path, rng):
    bundle, model, _ = trained
    people = spoiled(rng, 700)
    expected = model.answers(as_records(people))
    source = write(tmp_path / "in.csv", [{"id": i, **p} for i, p in enumerate(people)])
    output = tmp_path / f"out{ending}"
    assert score(bundle, source, output, keep=["id"]) == 700
    if ending == ".jsonl":
        rows = [json.loads(line) for line in output.read_text().splitlines()]
        got = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    else:
        read = pyarrow.csv.read_csv if ending == ".csv" else pyarrow.parquet.read_table
        got = {
            name: column.to_numpy() for name, column in zip(*_columns(read(output)), strict=True)
        }
    assert [str(i) for i in got.pop("id")] == [str(i) for i in range(700)]
    if "value" in expected:
        alike({"value": got["prediction"][:, None]}, expected)
    else:
        p = np.column_stack([got[f"probability_{name}"] for name in model.classes])
        alike({"label": got["prediction"], "probabilities": p}, expected)


def _columns(table):
    return table.column_names, table.columns


@pytest.mark.parametrize("form", ["records", "records without their gaps", "rows"])
def test_predict_every_body_format_equals_numpy(form, trained, rng):
    _, model, folder = trained
    people = spoiled(rng, 300)
    expected = model.answers(as_records(people))
    instances = {
        "records": people,
        "records without their gaps": [
            {name: value for name, value in p.items() if value is not None} for p in people
        ],
        "rows": [list(p.values()) for p in people],
    }[form]
    client = create_app(models=folder / "models").test_client()
    for size in (1, 300):
        body = client.post("/predict", json={"instances": instances[:size]}).json
        part = {name: values[:size] for name, values in expected.items()}
        if "value" in expected:
            alike({"value": np.array(body["predictions"])[:, None]}, part)
        else:
            alike({"label": body["predictions"], "probabilities": body["probabilities"]}, part)


def test_predict_example_of_the_manifest_is_answered(trained):
    bundle, _, folder = trained
    client = create_app(models=folder / "models").test_client()
    example = client.get(f"/models/{bundle.manifest.name}").json["example"]
    assert set(example) == {column.name for column in COLUMNS}
    assert client.post("/predict", json={"instances": [example]}).status_code == 200


def test_verify_mixed_columns_passes_and_manifest_names_them(trained):
    bundle, model, _ = trained
    opened = Bundle.open(bundle.path).manifest
    assert [column.type for column in opened.inputs] == [c.kind for c in COLUMNS]
    assert {column.missing for column in opened.inputs} == {"impute"}
    assert opened.temperature == model.temperature
    assert opened.logit_bias == model.logit_bias
    assert opened.threshold == (model.threshold if model.task == "binary" else None)
