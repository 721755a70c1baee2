"""Column names and texts in any of Unicode's normal forms, from any file and any option."""

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from trainer.config import Config
from trainer.data.files.file_sources import open_file
from trainer.data.read_options import ReadOptions
from trainer.data.sources import load_table
from trainer.data.tables import DataError

COMPOSED_NAME, DECOMPOSED_NAME = "a\u00f1o", "an\u0303o"
COMPOSED, DECOMPOSED = "\u00e9", "e\u0301"


def write_csv(table, path):
    pa.csv.write_csv(table, path)


WRITERS = {
    "csv": write_csv,
    "parquet": pyarrow.parquet.write_table,
    "arrow": pyarrow.feather.write_feather,
}


@pytest.mark.parametrize("suffix", WRITERS)
def test_load_names_and_texts_in_any_form_are_composed(suffix, tmp_path):
    table = pa.table(
        {
            DECOMPOSED_NAME: [COMPOSED, DECOMPOSED] * 20,
            "x": np.arange(40.0),
            "pays\u0323": [DECOMPOSED, "b", f" {COMPOSED} ", "b"] * 10,
        }
    )
    path = str(tmp_path / f"t.{suffix}")
    WRITERS[suffix](table, path)
    for name in ("pays\u0323", "pay\u1e63"):
        table = load_table(path, ReadOptions(target=name, number=("x",)))
        assert table.target_names == ("pay\u1e63",)
        assert table.records.names == (COMPOSED_NAME, "x")
        assert table.records.columns[0].words == (COMPOSED,)
        assert sorted(set(table.target.tolist())) == ["b", COMPOSED]
    assert load_table(path, ReadOptions(drop=(DECOMPOSED_NAME,))).records.names == ("x",)


@pytest.mark.parametrize("suffix", WRITERS)
def test_open_file_two_forms_of_one_name_are_refused_with_both(suffix, tmp_path):
    names = [COMPOSED_NAME, DECOMPOSED_NAME, "y"]
    table = pa.Table.from_arrays([pa.array([1.5])] * 3, names=names)
    path = tmp_path / f"t.{suffix}"
    WRITERS[suffix](table, str(path))
    with pytest.raises(DataError, match=r"'año' in two .* 'a\\xf1o' and 'an\\u0303o'; rename"):
        open_file(path)


def test_config_names_in_any_form_are_composed_in_read_options():
    name = DECOMPOSED_NAME
    config = Config(
        data="t.csv", target=name, drop=name, time=name, missing=f"{DECOMPOSED}, \u00c9"
    )
    options = config.get_read_options()
    assert (options.target, options.drop, options.time) == (
        COMPOSED_NAME,
        (COMPOSED_NAME,),
        COMPOSED_NAME,
    )
    assert options.missing == (COMPOSED,)


def test_load_classes_of_npz_have_the_spelling_of_other_files(tmp_path):
    classes = np.array([DECOMPOSED, f" {COMPOSED}", "2.0", "2", "x"])
    np.savez(
        tmp_path / "t.npz",
        X=np.random.default_rng(0).normal(size=(60, 2)),
        y=np.resize(classes, 60),
    )
    table = load_table(str(tmp_path / "t.npz"))
    assert sorted(set(table.target.tolist())) == ["2", "x", COMPOSED]
