import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from trainer.data.files.store import Store
from trainer.data.tables import DataError

ROWS = np.arange(30, dtype=np.float32).reshape(10, 3)


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize("values", [ROWS, ROWS[:, 0], ROWS.astype("<U4"), ROWS[:, :0], ROWS[:0]])
def test_rows_come_back_as_they_went_in(in_file, values):
    store = Store(values.shape, values.dtype, in_file=in_file)
    for part in np.array_split(values, 3):
        store.append(np.asfortranarray(part))
    store.array()
    store.close()
    assert isinstance(store.array(), np.memmap) == (in_file and values.size > 0)
    np.testing.assert_array_equal(store.array(), values)
    assert store.array().dtype == values.dtype


def test_the_file_has_no_name_and_lies_where_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    store = Store(ROWS.shape, ROWS.dtype, in_file=True)
    store.append(ROWS)
    assert not list(tmp_path.iterdir())
    store.array()[0] = 7  # it may be written to
    store.close()
    np.testing.assert_array_equal(store.array()[:2], [[7, 7, 7], ROWS[1]])


@pytest.mark.parametrize("in_file", [False, True])
def test_a_file_that_changes_is_noticed(in_file):
    store = Store((12, 3), ROWS.dtype, in_file=in_file)
    store.append(ROWS)
    with pytest.raises(DataError, match="expected 12 rows; got 10: the file is being changed"):
        store.array()
    with pytest.raises(DataError, match="expected 12 rows; got more"):
        store.append(ROWS)
    store.close()


def test_a_full_disk_is_named(monkeypatch):
    monkeypatch.setattr(tempfile, "TemporaryFile", partial(Path("/dev/full").open, "wb", 0))
    store = Store(ROWS.shape, ROWS.dtype, in_file=True)
    with pytest.raises(DataError, match="expected room for 120 bytes in .*; set TMPDIR"):
        store.append(ROWS)
    store.close()
