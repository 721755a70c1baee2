import pytest

from trainer.data.files.column_roles import roles
from trainer.data.read_options import ReadOptions
from trainer.data.tables import DataError


@pytest.fixture
def source(rows):
    return rows({name: ["1"] for name in "abcde"})


def test_the_last_column_is_the_target(source):
    found = roles(source, ReadOptions())
    assert (found.target, found.features) == ("e", tuple("abcd"))
    found = roles(source, ReadOptions(target="c", drop=("e",), group="d"))
    assert (found.target, found.features, found.group) == ("c", ("a", "b"), "d")


@pytest.mark.parametrize("reading", [ReadOptions(drop=("e",)), ReadOptions(group="e")])
def test_no_other_column_becomes_the_target_unasked(reading, source):
    with pytest.raises(DataError, match=r"got the last column, 'e'.*say another with --target"):
        roles(source, reading)


def test_the_time_is_a_feature_unless_dropped(source):
    assert roles(source, ReadOptions(time="a")).features == tuple("abcd")
    found = roles(source, ReadOptions(time="a", drop=("a",)))
    assert found.features == tuple("bcd")
    assert set(found.used) == set("abcde")


@pytest.mark.parametrize(
    ("reading", "said"),
    [
        (ReadOptions(target="f"), "expected a target out of 'a', 'b', 'c', 'd', 'e'; got 'f'"),
        *(
            (ReadOptions(**{name: value}), "columns out of 'a', 'b', 'c', 'd', 'e'; got 'f'")
            for name, value in {
                "drop": ("a", "f"),
                "number": ("f",),
                "boolean": ("f",),
                "category": ("f",),
                "date": ("f",),
                "group": "f",
                "time": "f",
            }.items()
        ),
        (ReadOptions(number=("a",), date=("a",)), "expected one kind for 'a'; got two"),
        (
            ReadOptions(target="a", drop=("a",)),
            "the target to be kept; got 'a' among those to drop",
        ),
        (ReadOptions(target="a", group="a"), "another column than the target as group; got 'a'"),
        (ReadOptions(time="e"), "another column than the target as time; got 'e'"),
        (ReadOptions(drop=tuple("abcd")), "expected columns beside the target.*got only 'e'"),
    ],
)
def test_what_does_not_fit_is_named(reading, said, source):
    with pytest.raises(DataError, match=said):
        roles(source, reading)
