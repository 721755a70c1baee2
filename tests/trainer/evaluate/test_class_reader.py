import pyarrow as pa
import pytest

from trainer.data.files.file_sources import number_rows
from trainer.data.tables import DataError
from trainer.evaluate.class_reader import ClassReader


def read(target, classes=(0, 1), n_rows_before=0):
    return ClassReader(list(classes), "y").read(target, n_rows_before, number_rows)


@pytest.mark.parametrize(
    ("classes", "target"),
    [
        ((0, 1), pa.array([0, 1])),
        ((0, 1), pa.array([0.0, 1.0])),
        ((0, 1), pa.array([False, True])),
        ((0, 1), pa.array(["0", "1"])),
        ((0, 1), pa.array([" 0.0", "1.00 "])),
        ((0, 1), pa.array(["00", "01"])),
        ((0, 1), pa.array(["False", "TRUE"])),
        ((0, 1), pa.array(["0", "1"]).dictionary_encode()),
        (("False", "True"), pa.array(["false", "true"])),
        (("false", "true"), pa.array([False, True])),
        (("false", "true"), pa.array([0, 1])),
        (("1", "2"), pa.array([1.0, 2.0])),
        (("1", "2"), pa.array(["1.0", "2.0"])),
        (("-1", "0"), pa.array([-1.0, -0.0])),
        (("caf\u00e9", "the"), pa.array(["cafe\u0301", "the "])),
        (("None", "Some"), pa.array(["None", "Some"])),
    ],
    ids=str,
)
def test_class_reader_reads_every_spelling(classes, target):
    assert read(target, classes).tolist() == [0, 1]
    assert [read(target.slice(row, 1), classes).tolist() for row in range(2)] == [[0], [1]]


@pytest.mark.parametrize("target", [pa.array([1, 2]), pa.array(["1", "x"]), pa.array(["1", "YES"])])
def test_class_reader_unknown_class_is_named_with_its_row(target):
    with pytest.raises(
        DataError,
        match=r"knows, 0, 1, in the target 'y'; got '(2|x|YES)' \(1\), the first in row 4;",
    ):
        read(target, n_rows_before=2)


def test_class_reader_many_unknown_classes_names_the_ten_most_frequent():
    target = pa.array([*map(str, range(2, 30)), "29", "1"])
    with pytest.raises(DataError, match=r"got '29' \(2\), '2' \(1\), .* and 18 more, the first in"):
        read(target)


@pytest.mark.parametrize(
    "target", [pa.array([1, None]), pa.array(["1", " "]), pa.array(["1", "NA"])]
)
def test_class_reader_gap_is_refused_with_its_row(target):
    with pytest.raises(DataError, match="got 1 gap, the first in row 2; fill"):
        read(target)
