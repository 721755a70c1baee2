"""Which format a column of dates is written in, and when that is not certain."""

from datetime import date, timedelta

import pytest

from trainer.data.files import date_formats
from trainer.data.files.column_inference import infer_columns
from trainer.data.files.date_formats import propose
from trainer.data.read_options import ReadOptions
from trainer.data.tables import DataError

YEAR = [date(2024, 1, 1) + timedelta(days) for days in range(366)]
CERTAIN = (
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d-%m-%Y",
    "%d.%m.%Y",
    "%Y/%m/%d",
    "%d-%b-%Y",
    "%d %B %Y",
    "%d/%m/%Y %H:%M",
    "%B %d, %Y",
    "%m/%d/%Y %I:%M:%S %p",
    "%Y.%m.%dT%H:%M:%S",
)


@pytest.mark.parametrize("written", CERTAIN)
def test_propose_dates_of_a_year_names_their_format(written):
    found = propose([day.strftime(written) for day in YEAR])
    assert (found.formats, found.is_certain, found.others) == ((written,), True, ())


def test_propose_days_up_to_twelve_asks_which_comes_first():
    found = propose(["01/02/2024", "03/04/2024"])
    assert (found.formats, found.is_certain) == (("%d/%m/%Y", "%m/%d/%Y"), False)
    assert found.advice("joined on") == (
        "'01/02/2024', day first: --date 'joined on' --date-format 'joined on=%d/%m/%Y', or month "
        "first: --date 'joined on' --date-format 'joined on=%m/%d/%Y'"
    )


def test_propose_years_of_two_digits_are_not_certain():
    assert not propose([day.strftime("%d.%m.%y") for day in YEAR]).is_certain


def test_propose_a_few_odd_cells_are_named():
    found = propose([*(day.strftime("%d/%m/%Y") for day in YEAR), "TBD", "30/02/2024"])
    assert (found.others, found.is_certain) == (("TBD", "30/02/2024"), False)
    assert "once the cells 'TBD', '30/02/2024' are corrected or empty" in found.advice("joined")


@pytest.mark.parametrize(
    "texts",
    [
        ["a", "b"],
        ["1.2.3", "3.11.4"],
        ["12", "13"],
        ["2024", "2025"],
        ["10:30", "11:30"],
        [],
        ["22/06/2024", "x", "y", "z"],
        ["192.168.1.10"],
        ["A1-2024", "B2-2025"],
        ["1/2", "3/4"],
        ["x" * 10**6 + "1"],
    ],
)
def test_propose_other_texts_are_no_dates(texts):
    assert propose(texts) is None


def column(rows, texts, **said):
    source = rows({"x": texts, "y": ["a"] * len(texts)})
    return infer_columns(source, ReadOptions(**said))[0]


def test_infer_a_certain_format_makes_dates(rows):
    found = column(rows, ["22/06/2025", "01/07/2025", "NA", "22/06/2025"])
    assert (found.kind, found.format, found.gaps, found.distinct) == ("date", "%d/%m/%Y", 1, 2)
    assert (found.minimum, found.maximum) == (1750550400, 1751328000)
    assert "--date-format x=%d/%m/%Y" in found.proposal


def test_infer_an_uncertain_format_is_proposed(rows):
    found = column(rows, ["02/06/2025", "01/07/2025"])
    assert (found.kind, found.words) == ("category", ("01/07/2025", "02/06/2025"))
    assert "--date-format x=%d/%m/%Y" in found.proposal
    assert "--date-format x=%m/%d/%Y" in found.proposal


@pytest.mark.parametrize("formats", [("x=%m/%d/%Y",), ("%m/%d/%Y",)])
def test_infer_a_format_that_is_said_is_read_beside_iso_8601(rows, formats):
    said = {"date": ("x",), "date_format": formats}
    found = column(rows, ["02/06/2025", "2025-02-07"], **said)
    assert (found.kind, found.minimum, found.maximum) == ("date", 1738800000, 1738886400)
    assert found.proposal == ""
    with pytest.raises(DataError, match=r"written %m/%d/%Y.* in 'x'; got '22/06/2025' in row 2"):
        column(rows, ["02/06/2025", "22/06/2025"], **said)


def test_infer_categories_that_are_said_stay(rows):
    found = column(rows, ["22/06/2025", "01/07/2025"], category=("x",))
    assert (found.kind, found.proposal) == ("category", "")


def test_infer_a_target_of_dates_keeps_its_words(rows):
    source = rows({"x": ["1", "2"], "y": ["22/06/2025", "01/07/2025"]})
    assert infer_columns(source, ReadOptions())[1].kind == "category"


def test_infer_too_many_texts_that_look_like_dates_are_proposed(rows, monkeypatch):
    monkeypatch.setattr("trainer.data.files.column_inference.MOST_WORDS", 100)
    with pytest.raises(DataError, match="--date-format x=%d/%m/%Y"):
        column(rows, [day.strftime("%d/%m/%Y") for day in YEAR])


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"date_format": ("%d/%m/%Y",)}, "the date format alone"),
        ({"date_format": ("x=%d/%m/%Y", "x=%m/%d/%Y")}, "one date format for 'x'; got two"),
        ({"date_format": ("%d/%m/%Y", "%m/%d/%Y"), "date": ("x",)}, "one date format for all"),
        ({"date_format": ("z=%d/%m/%Y",)}, "names of columns out of 'x', 'y'; got 'z'"),
        ({"date_format": ("x=%d/%m/%Y",), "number": ("x",)}, "one kind for 'x'; got two"),
    ],
)
def test_infer_refuses_formats_of_no_column(rows, said, message):
    with pytest.raises(DataError, match=message):
        column(rows, ["02/06/2025"], **said)


def test_every_common_format_is_one():
    for day in (*date_formats.DAYS, *date_formats.SHORT):
        for clock in date_formats.TIMES:
            text = f"{day}{clock}"
            assert propose([YEAR[-1].strftime(text).removesuffix("%z") + "Z" * text.endswith("%z")])
