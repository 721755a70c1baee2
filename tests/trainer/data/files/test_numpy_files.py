import gzip
import struct

import numpy as np
import pytest

from trainer.data.read_options import ReadOptions
from trainer.data.sources import default_name, load_table
from trainer.data.tables import DataError


def encode_idx(array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture
def images_and_labels(rng):
    return rng.integers(0, 256, (60, 3, 4)), np.arange(60) % 3


@pytest.fixture
def save(tmp_path):
    """Return a function that writes images and labels, and returns the path of the images."""

    def save(name, images, labels, pack=bytes):
        suffix = ".gz" if pack is gzip.compress else ""
        (tmp_path / f"{name}-images-idx3-ubyte{suffix}").write_bytes(pack(encode_idx(images)))
        (tmp_path / f"{name}-labels-idx1-ubyte{suffix}").write_bytes(pack(encode_idx(labels)))
        return tmp_path / f"{name}-images-idx3-ubyte{suffix}"

    return save


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_load_idx_images_become_rows_of_pixels(pack, images_and_labels, save, tmp_path):
    images, labels = images_and_labels
    path = save("train", images[:40], labels[:40], pack)
    table = load_table(str(path))
    np.testing.assert_array_equal(table.records.numbers, images[:40].reshape(40, 12))
    np.testing.assert_array_equal(table.target, labels[:40])
    assert table.records.names[:5] == ("1x1", "1x2", "1x3", "1x4", "2x1")
    assert (table.task, table.judged, table.target_names) == ("multiclass", 0, ("label",))
    save("t10k", images[40:], labels[40:])
    for source in (path, tmp_path):
        table = load_table(str(source))
        np.testing.assert_array_equal(table.records.numbers, images.reshape(60, 12))
        np.testing.assert_array_equal(table.target, labels)
        assert table.judged == 20
    assert default_name(str(path)) == "train"


def test_load_idx_faulty_files_are_refused(images_and_labels, save, tmp_path):
    images, labels = images_and_labels
    path = save("t", images, labels)
    whole, label_file = path.read_bytes(), tmp_path / "t-labels-idx1-ubyte"
    for content, message in (
        (whole[:100], "more bytes; got 84: it breaks off"),
        (b"", "more bytes; got 0"),
        (b"\0\0\x0d" + whole[3:], "IDX file of unsigned bytes of 3 axes; got .* 00000d03"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            load_table(str(path))
    path.write_bytes(whole)
    label_file.write_bytes(encode_idx(labels[1:]))
    with pytest.raises(DataError, match="as many labels as pictures; got 59 and 60"):
        load_table(str(path))
    label_file.unlink()
    with pytest.raises(DataError, match="its labels in t-labels-idx1-ubyte beside it; got no such"):
        load_table(str(path))
    with pytest.raises(DataError, match="expected no target column"):
        load_table(str(path), ReadOptions(target="label"))
    save("train", images, labels)
    save("t10k", images[:, :2], labels)
    with pytest.raises(DataError, match=r"pictures of one size.*got \(3, 4\) and \(2, 4\)"):
        load_table(str(tmp_path))
    path = save("p", images, labels, gzip.compress)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match="expected a readable file; Compressed file ended"):
        load_table(str(path))


def test_load_npz_gaps_are_kept_and_empty_columns_refused(write_npz, rng):
    X = rng.normal(size=(30, 4))
    X[3, 1] = np.nan
    table = load_table(write_npz(X=X, y=np.arange(30) % 3))
    np.testing.assert_array_equal(table.records.numbers, X.astype(np.float32))
    X[:, 2] = np.nan
    with pytest.raises(DataError, match="values in every column; got none at all in 'x2'"):
        load_table(write_npz(X=X, y=np.arange(30) % 3))
