"""Names and texts in any of Unicode's normal forms, from any file and any option."""

import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.bundle import canonicalize_text
from tests.fuzzing import examples
from trainer.config import Config
from trainer.data.files import cells
from trainer.data.files.source import open_file
from trainer.data.sources import ReadOptions, load_table
from trainer.data.tables import DataError

NAME = "año"
OTHER = unicodedata.normalize("NFD", NAME)
ACCENTED, SPLIT = "é", "e\u0301"


def write_csv(table, path):
    pa.csv.write_csv(table, path)


WRITE = {
    "csv": write_csv,
    "parquet": pyarrow.parquet.write_table,
    "arrow": pyarrow.feather.write_feather,
}


@pytest.mark.parametrize("ending", WRITE)
def test_load_names_and_texts_come_in_one_form(ending, tmp_path):
    table = pa.table(
        {
            OTHER: [ACCENTED, SPLIT] * 20,
            "x": np.arange(40.0),
            "pays\u0323": [SPLIT, "b", f" {ACCENTED} ", "b"] * 10,
        }
    )
    path = str(tmp_path / f"t.{ending}")
    WRITE[ending](table, path)
    for name in ("pays\u0323", "pay\u1e63"):
        read = load_table(path, ReadOptions(target=name, number=("x",)))
        assert read.target_names == ("pay\u1e63",)
        assert read.records.names == (NAME, "x")
        assert read.records.columns[0].words == (ACCENTED,)
        assert sorted(set(read.target.tolist())) == ["b", ACCENTED]
    assert load_table(path, ReadOptions(drop=(OTHER,))).records.names == ("x",)


@pytest.mark.parametrize("ending", WRITE)
def test_open_file_two_names_that_become_one_are_refused_with_both(ending, tmp_path):
    table = pa.Table.from_arrays([pa.array([1.5])] * 3, names=[NAME, OTHER, "y"])
    path = tmp_path / f"t.{ending}"
    WRITE[ending](table, str(path))
    with pytest.raises(DataError, match=r"'año' in two .* 'a\\xf1o' and 'an\\u0303o'; rename"):
        open_file(path)


def test_reading_of_a_config_has_names_in_one_form():
    config = Config(data="t.csv", target=OTHER, drop=OTHER, time=OTHER, missing=f"{SPLIT}, É")
    reading = config.get_read_options()
    assert (reading.target, reading.drop, reading.time) == (NAME, (NAME,), NAME)
    assert reading.missing == (ACCENTED,)


def test_load_classes_of_npz_are_written_as_those_of_files(tmp_path):
    classes = np.array([SPLIT, f" {ACCENTED}", "2.0", "2", "x"])
    np.savez(
        tmp_path / "t.npz",
        X=np.random.default_rng(0).normal(size=(60, 2)),
        y=np.resize(classes, 60),
    )
    assert sorted(set(load_table(str(tmp_path / "t.npz")).target.tolist())) == ["2", "x", ACCENTED]


TEXTS = st.one_of(
    st.text(),
    st.text("0123456789.-+ \t", max_size=6),
    st.sampled_from(
        ["007", "1.0", "-2.00", "-0", "-0.0", "1.", ".0", "1.50", "+1.0", "٣.0", SPLIT]
    ),
)


@given(given=st.lists(TEXTS, min_size=1))
@examples(300)
def test_texts_of_a_column_have_the_spelling_of_canonical_text(given):
    found = cells.texts(pa.array(given, pa.string()), ()).to_pylist()
    assert found == [canonicalize_text(text) or None for text in given]


@given(text=TEXTS)
@examples(300)
def test_canonical_text_is_its_own_spelling(text):
    assert canonicalize_text(canonicalize_text(text)) == canonicalize_text(text)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array([1.0, -0.0, 1e15, 1.5, None]), ["1", "0", "1" + "0" * 15, "1.5", None]),
        (pa.array([1e16, 1e-5]), ["1e+16", "1e-05"]),
        (pa.array([1.1, 2.0], pa.float32()), ["1.1", "2"]),
        (pa.array([np.float16(0.5), np.float16(2)], pa.float16()), ["0.5", "2"]),
        (pa.array([2**63 - 1, -(2**63)]), [str(2**63 - 1), str(-(2**63))]),
        (pa.array([255], pa.uint8()), ["255"]),
        (pa.array([True, False, None]), ["true", "false", None]),
        (pa.array(["1.0", "-2.00", "-0", "007", " x "]), ["1", "-2", "0", "007", "x"]),
    ],
)
def test_texts_of_every_type_have_one_spelling(array, expected):
    assert cells.texts(array, ()).to_pylist() == expected
    words = pa.array(sorted({text for text in expected if text is not None}))
    codes = cells.codes(array, words, ())
    assert [None if code < 0 else words[code].as_py() for code in codes] == expected
