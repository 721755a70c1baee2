from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from trainer.data.files import file_sources
from trainer.data.files.file_sources import open_file
from trainer.data.tables import DataError

TABLE = pa.table(
    {
        "n": pa.array([1.5, None, 3] * 500),
        "k": pa.array(["a", None, "b"] * 500).dictionary_encode(),
        "wide": pa.array(["x", "y", None] * 500, pa.large_string()),
        "when": pa.array([datetime(2020, 1, 1), None, None] * 500),
        "flag": pa.array([True, False, None] * 500),
    }
)


def write_stream(table, path):
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=700)


WRITERS = {
    "t.parquet": lambda t, p: pa.parquet.write_table(t, p, row_group_size=400),
    "t.feather": lambda t, p: pa.feather.write_feather(t, str(p), chunksize=700),
    "t.ARROW": lambda t, p: pa.feather.write_feather(t, str(p), compression="uncompressed"),
    "stream.arrow": write_stream,
}


@pytest.mark.parametrize("name", WRITERS)
def test_iter_batches_all_rows_are_in_order_and_of_simple_types(name, tmp_path, monkeypatch):
    WRITERS[name](TABLE, tmp_path / name)
    monkeypatch.setattr(file_sources, "MAX_BATCH_CELLS", 5 * 128)
    source = open_file(tmp_path / name)
    assert source.name == name
    assert source.columns == tuple(TABLE.column_names)
    for _ in range(2):
        batches = list(source.iter_batches())
        assert max(batch.num_rows for batch in batches) <= 128
        assert [str(kind) for kind in batches[0].schema.types][1:3] == ["string", "string"]
        assert pa.Table.from_batches(batches).to_pydict() == TABLE.to_pydict()


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow", "t.feather"])
@pytest.mark.parametrize("content", [b"", b"no such file", b"ARROW1 but no more", b"PAR1"])
def test_open_file_other_content_is_refused(name, content, write):
    with pytest.raises(DataError, match=rf"{name}: expected a whole (Parquet|Arrow) file"):
        list(open_file(write(name, content)).iter_batches())


@pytest.mark.parametrize("name", WRITERS)
def test_iter_batches_truncated_file_is_refused(name, tmp_path):
    path = tmp_path / name
    WRITERS[name](TABLE, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match="expected a whole"):
        list(open_file(path).iter_batches())


@pytest.mark.parametrize("name", ["t.parquet", "t.feather", "t.ARROW"])
def test_iter_batches_flipped_byte_is_refused_or_harmless(name, tmp_path, rng):
    path = tmp_path / name
    WRITERS[name](TABLE.slice(0, 60), path)
    content = path.read_bytes()
    n_refusals = 0
    for place in rng.integers(0, len(content), 150):
        path.write_bytes(content[:place] + bytes([rng.integers(256)]) + content[place + 1 :])
        try:
            list(open_file(path).iter_batches())
        except DataError:
            n_refusals += 1
    assert n_refusals


def test_open_file_names_for_parquet_are_refused(tmp_path):
    pa.parquet.write_table(TABLE, tmp_path / "t.parquet")
    with pytest.raises(DataError, match="expected no names"):
        open_file(tmp_path / "t.parquet", ("a",))


@pytest.mark.parametrize("options", [{"delimiter": ";"}, {"encoding": "cp1252"}])
def test_open_file_csv_options_for_parquet_are_refused(options, write):
    with pytest.raises(DataError, match="which only a CSV file has"):
        open_file(write("t.parquet", b""), **options)


def test_open_file_unnamed_columns_are_refused(tmp_path):
    table = pa.table([np.arange(3)] * 2, names=["", ""])
    pa.parquet.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(DataError, match="a name for every column; got none for columns 1, 2"):
        open_file(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    "metadata",
    [b"{", b"[]", b'{"index_columns": 1}', b'{"index_columns": [1, null, "z"]}', b"[" * 9999],
)
def test_open_file_invalid_pandas_metadata_declares_no_index(metadata, tmp_path):
    frame = pd.DataFrame({"x": np.arange(30) % 17, "kind": list("ab") * 15})
    table = pa.Table.from_pandas(frame).replace_schema_metadata({b"pandas": metadata})
    pa.parquet.write_table(table, tmp_path / "t.parquet")
    source = open_file(tmp_path / "t.parquet")
    assert (source.columns, source.index) == (("x", "kind"), ())
