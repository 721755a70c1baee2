from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from trainer.data.files import columnar
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


def stream(table, path):
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=700)


WRITERS = {
    "t.parquet": lambda t, p: pa.parquet.write_table(t, p, row_group_size=400),
    "t.feather": lambda t, p: pa.feather.write_feather(t, str(p), chunksize=700),
    "t.ARROW": lambda t, p: pa.feather.write_feather(t, str(p), compression="uncompressed"),
    "stream.arrow": stream,
}


@pytest.mark.parametrize("name", WRITERS)
def test_all_rows_come_in_order_and_plainly_typed(name, tmp_path, monkeypatch):
    WRITERS[name](TABLE, tmp_path / name)
    monkeypatch.setattr(columnar, "CELLS", 5 * 128)
    source = open_file(tmp_path / name)
    assert source.name == name
    assert source.columns == tuple(TABLE.column_names)
    for _ in range(2):
        batches = list(source.batches())
        assert max(batch.num_rows for batch in batches) <= 128
        assert [str(kind) for kind in batches[0].schema.types][1:3] == ["string", "string"]
        assert pa.Table.from_batches(batches).to_pydict() == TABLE.to_pydict()


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow", "t.feather"])
@pytest.mark.parametrize("content", [b"", b"no such file", b"ARROW1 but no more", b"PAR1"])
def test_what_is_none_is_named(name, content, write):
    with pytest.raises(DataError, match=rf"{name}: expected a whole (Parquet|Arrow) file"):
        list(open_file(write(name, content)).batches())


@pytest.mark.parametrize("name", WRITERS)
def test_what_breaks_off_is_named(name, tmp_path):
    path = tmp_path / name
    WRITERS[name](TABLE, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match="expected a whole"):
        list(open_file(path).batches())


def test_names_are_not_asked_for(tmp_path):
    pa.parquet.write_table(TABLE, tmp_path / "t.parquet")
    with pytest.raises(DataError, match="expected no names"):
        open_file(tmp_path / "t.parquet", ("a",))


def test_unnamed_columns_are_refused(tmp_path):
    table = pa.table([np.arange(3)] * 2, names=["", ""])
    pa.parquet.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(DataError, match="a name for every column; got none for columns 1, 2"):
        open_file(tmp_path / "t.parquet")


@pytest.mark.parametrize("name", ["t.parquet", "t.feather", "t.ARROW"])
def test_a_byte_that_flips_is_named_or_harmless(name, tmp_path, rng):
    path = tmp_path / name
    WRITERS[name](TABLE.slice(0, 60), path)
    whole = path.read_bytes()
    refused = 0
    for place in rng.integers(0, len(whole), 150):
        path.write_bytes(whole[:place] + bytes([rng.integers(256)]) + whole[place + 1 :])
        try:
            list(open_file(path).batches())
        except DataError:
            refused += 1
    assert refused
