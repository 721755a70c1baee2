import gzip
import struct

import numpy as np
import pytest

from trainer.data.sources import Reading, default_name, load_table
from trainer.data.tables import DataError


def idx(array):
    head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(np.uint8).tobytes()


@pytest.fixture
def pictures(rng):
    return rng.integers(0, 256, (60, 3, 4)), np.arange(60) % 3


@pytest.fixture
def save(tmp_path):
    def save(name, images, labels, pack=bytes):
        end = ".gz" if pack is gzip.compress else ""
        (tmp_path / f"{name}-images-idx3-ubyte{end}").write_bytes(pack(idx(images)))
        (tmp_path / f"{name}-labels-idx1-ubyte{end}").write_bytes(pack(idx(labels)))
        return tmp_path / f"{name}-images-idx3-ubyte{end}"

    return save


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_pictures_become_rows_of_pixels(pack, pictures, save, tmp_path):
    images, labels = pictures
    path = save("train", images[:40], labels[:40], pack)
    alone = load_table(str(path))
    np.testing.assert_array_equal(alone.records.numbers, images[:40].reshape(40, 12))
    np.testing.assert_array_equal(alone.target, labels[:40])
    assert alone.records.names[:5] == ("1x1", "1x2", "1x3", "1x4", "2x1")
    assert (alone.task, alone.test_rows, alone.target_names) == ("multiclass", 0, ("label",))
    save("t10k", images[40:], labels[40:])
    for source in (path, tmp_path):
        both = load_table(str(source))
        np.testing.assert_array_equal(both.records.numbers, images.reshape(60, 12))
        np.testing.assert_array_equal(both.target, labels)
        assert both.test_rows == 20
    assert default_name(str(path)) == "train"


def test_faulty_pictures_are_named(pictures, save, tmp_path):
    images, labels = pictures
    path = save("t", images, labels)
    whole, beside = path.read_bytes(), tmp_path / "t-labels-idx1-ubyte"
    for content, said in (
        (whole[:100], "more bytes; got 84: it breaks off"),
        (b"", "more bytes; got 0"),
        (b"\0\0\x0d" + whole[3:], "IDX file of unsigned bytes of 3 axes; got .* 00000d03"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=said):
            load_table(str(path))
    path.write_bytes(whole)
    beside.write_bytes(idx(labels[1:]))
    with pytest.raises(DataError, match="as many labels as pictures; got 59 and 60"):
        load_table(str(path))
    beside.unlink()
    with pytest.raises(DataError, match="its labels in t-labels-idx1-ubyte beside it; got no such"):
        load_table(str(path))
    with pytest.raises(DataError, match="expected no target column"):
        load_table(str(path), Reading(target="label"))
    save("train", images, labels)
    save("t10k", images[:, :2], labels)
    with pytest.raises(DataError, match=r"pictures of one size.*got \(3, 4\) and \(2, 4\)"):
        load_table(str(tmp_path))
    packed = save("p", images, labels, gzip.compress)
    packed.write_bytes(packed.read_bytes()[:200])
    with pytest.raises(DataError, match="expected a readable file; Compressed file ended"):
        load_table(str(packed))


def test_arrays_may_have_gaps_but_no_empty_column(write_npz, rng):
    X = rng.normal(size=(30, 4))
    X[3, 1] = np.nan
    table = load_table(write_npz(X=X, y=np.arange(30) % 3))
    np.testing.assert_array_equal(table.records.numbers, X.astype(np.float32))
    X[:, 2] = np.nan
    with pytest.raises(DataError, match="values in every column; got none at all in 'x2'"):
        load_table(write_npz(X=X, y=np.arange(30) % 3))
