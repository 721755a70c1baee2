"""The same records through every file format, `score` and every body of `POST /predict`."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest

from serving import create_app
from trainer.config import Config
from trainer.data.sources import REAL, TOYS
from trainer.pipeline import fit
from trainer.score import score

ROWS = 40
ARROW = "application/vnd.apache.arrow.stream"


def to_arrow(records) -> pa.Table:
    """Return records as a table of typed columns, as another tool would write them."""
    found = {}
    for column in records.columns:
        values = records.column(column.name)
        if column.kind == "category":
            words = np.array([*column.words, None], object)[values]
            found[column.name] = pa.array(words.tolist(), pa.string())
        elif column.kind == "boolean":
            found[column.name] = pa.array(
                [None if np.isnan(v) else bool(v) for v in values], pa.bool_()
            )
        elif column.kind == "date":
            micros = [None if np.isnan(v) else round(v * 10**6) for v in values]
            found[column.name] = pa.array(micros, pa.timestamp("us"))
        else:
            # As read from a file: in float64, the shortest digits of the float32.
            exact = [None if np.isnan(v) else float(str(v)) for v in values]
            found[column.name] = pa.array(exact, pa.float64())
    return pa.table(found)


def as_json(table: pa.Table) -> list[dict]:
    """Return the rows as JSON records; dates in ISO 8601."""
    return [
        {name: v.isoformat() if hasattr(v, "isoformat") else v for name, v in row.items()}
        for row in table.to_pylist()
    ]


def check_same_answers(data: str, folder: Path) -> None:
    """Train on a built-in table and compare the answers of every way in.

    Args:
        data: Name of the table.
        folder: Empty folder for the files.

    Raises:
        AssertionError: If two ways disagree on a label, or on a value by more than float32 rounds.
    """
    models = folder / "models"
    config = Config(
        data=data, hidden=(8,), epochs=2, skip_baselines=True, models=models, runs=folder / "runs"
    )
    bundle, trained = fit(config)
    records = trained.table.records.take(slice(ROWS))
    answers = trained.model.answers(records)
    expected = answers["value"] if "value" in answers else answers["label"]
    table = to_arrow(records)
    client = create_app(models=models).test_client()

    def agree(given: object, way: str) -> None:
        got = np.array(given).reshape(expected.shape)
        if "value" in answers:
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4, err_msg=way)
        else:
            np.testing.assert_array_equal(got, expected, err_msg=way)

    pyarrow.csv.write_csv(table, folder / "rows.csv")
    pyarrow.parquet.write_table(table, folder / "rows.parquet")
    pyarrow.feather.write_feather(table, str(folder / "rows.arrow"), compression="uncompressed")
    for file in ("rows.csv", "rows.parquet", "rows.arrow"):
        score(bundle, folder / file, folder / "scored.parquet")
        scored = pyarrow.parquet.read_table(folder / "scored.parquet")
        columns = [c for c in scored.column_names if c.startswith("prediction")]
        agree(np.column_stack([scored[c].to_numpy() for c in columns]), f"score of {file}")
    stream = io.BytesIO()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    rows = as_json(table)
    bodies = {
        "JSON records": {"json": {"instances": rows}},
        "JSON rows": {"json": {"instances": [list(row.values()) for row in rows]}},
        "CSV": {"data": (folder / "rows.csv").read_bytes(), "content_type": "text/csv"},
        "Arrow": {"data": stream.getvalue(), "content_type": ARROW},
    }
    for way, body in bodies.items():
        answer = client.post("/predict", **body)
        assert answer.status_code == 200, (way, answer.get_json())
        agree(answer.get_json()["predictions"], way)


@pytest.mark.parametrize("data", [*REAL, *TOYS])
def test_predict_built_in_table_same_answers_through_every_format(data, tmp_path):
    check_same_answers(data, tmp_path)
