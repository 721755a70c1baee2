"""The same records have the same labels whatever wrote them, and whatever reads them."""

import io
import json
import unicodedata
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest

from serving import create_app
from serving.bundle import Bundle
from trainer.config import Config
from trainer.pipeline import fit
from trainer.score import score

ROWS = 90
NFC = ["café", "Öl", "señal"]
NFD = [unicodedata.normalize("NFD", text) for text in NFC]
# Each table: the values of three categories as Arrow and Python have them.
TABLES = {
    "ints": pa.array([1, 2, 30], pa.int64()),
    "small ints": pa.array([1, 2, -3], pa.int8()),
    "large ints": pa.array([2**53 + 1, 2**53 + 2, 2**62], pa.int64()),
    "nullable ints": pa.array([1, None, 2], pa.int64()),
    "ints with gaps as floats": pa.array([1.0, None, 2.0], pa.float64()),
    "floats": pa.array([1.5, 2.0, -0.25], pa.float64()),
    "single floats": pa.array([1.1, 2.0, 0.3], pa.float32()),
    "decimals": pa.array([Decimal("1.50"), Decimal("2.00"), Decimal("3.25")]),
    "a dictionary": pa.array(["1.0", "2", "A"]).dictionary_encode(),
    "mixed codes": pa.array(["1", "2", "A"]),
    "truth values": pa.array([True, None, False]),
    "texts in NFC": pa.array(NFC),
    "texts in NFD": pa.array(NFD),
    "words for gaps": pa.array(["NA", "None", "null"]),
}
LABELS = ["low", "middle", "high"]


def table_of(values):
    places = np.arange(ROWS) % 3
    return pa.table(
        {
            "código": values.take(pa.array(places)),
            "noise": np.round(np.random.default_rng(0).normal(size=ROWS), 3),
            "answer": np.array(LABELS)[places],
        }
    )


def in_csv(table, path):
    if pa.types.is_dictionary(table.schema.field(0).type):
        table = table.set_column(0, table.column_names[0], table[0].cast(pa.string()))
    pyarrow.csv.write_csv(table, path)


WRITE = {
    "csv": in_csv,
    "parquet": pyarrow.parquet.write_table,
    "arrow": pyarrow.feather.write_feather,
}


def as_json(value):
    return float(value) if isinstance(value, Decimal) else value


@pytest.fixture(autouse=True)
def _graphs_are_timed_briefly(monkeypatch):
    monkeypatch.setattr("serving.runtime.latency_profile.MAX_TIMED_RUNS", 3)


# Each table is learned from in one of the formats, in turn.
@pytest.mark.parametrize(
    ("kind", "trained"), [(kind, [*WRITE][place % 3]) for place, kind in enumerate(TABLES)]
)
def test_class_labels_are_equal_in_every_format(kind, trained, tmp_path):
    table = table_of(TABLES[kind])
    for ending, write in WRITE.items():
        write(table, str(tmp_path / f"data.{ending}"))
    made, learned = fit(
        Config(
            data=str(tmp_path / f"data.{trained}"),
            models=tmp_path / "models",
            hidden=(8,),
            epochs=12,
            learning_rate=0.1,
            category=("código",),
            rare=1,
            skip_baselines=True,
            missing=() if trained == "csv" else None,
        )
    )
    expected = table["answer"].to_pylist()
    found = {}
    for ending in WRITE:
        output = tmp_path / "scored.parquet"
        warned = []
        score(Bundle.open(made.path), tmp_path / f"data.{ending}", output, warn=warned.append)
        assert not warned
        found[f"score {ending}"] = pyarrow.parquet.read_table(output)["prediction"].to_pylist()
    client = create_app(models=tmp_path / "models").test_client()
    features = table.drop_columns(["answer"])
    other = unicodedata.normalize("NFD", "código")
    records = [{k: as_json(v) for k, v in row.items()} for row in features.to_pylist()]
    renamed = [{other: row["código"], "noise": row["noise"]} for row in records]
    stream, text = io.BytesIO(), io.BytesIO()
    if not pa.types.is_decimal(features.schema.field(0).type):
        with pa.ipc.new_stream(stream, features.schema) as writer:
            writer.write_table(features)
        found["Arrow"] = labels(client, stream.getvalue(), "application/vnd.apache.arrow.stream")
    in_csv(features, text)
    found["CSV"] = labels(client, text.getvalue(), "text/csv")
    for name, rows in (("JSON", records), ("JSON, NFD", renamed)):
        found[name] = labels(client, json.dumps({"instances": rows}).encode(), "application/json")
    assert {name: got == expected for name, got in found.items()} == dict.fromkeys(found, True)
    assert learned.table.task == "multiclass"


def labels(client, body, media):
    answer = client.post("/predict", data=body, content_type=media)
    assert answer.status_code == 200, answer.text
    return answer.json["predictions"]
