"""The format of a column of dates, and what happens where it is not certain."""

from datetime import date, timedelta

import pytest

from trainer.data.files import date_formats
from trainer.data.files.column_inference import infer_columns
from trainer.data.files.date_formats import propose_date_formats
from trainer.data.read_options import ReadOptions
from trainer.data.tables import DataError

DAYS = [date(2024, 1, 1) + timedelta(days) for days in range(366)]
CERTAIN_FORMATS = (
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


@pytest.mark.parametrize("date_format", CERTAIN_FORMATS)
def test_propose_all_days_of_a_year_have_one_certain_format(date_format):
    proposal = propose_date_formats([day.strftime(date_format) for day in DAYS])
    assert (proposal.formats, proposal.is_certain, proposal.others) == ((date_format,), True, ())


def test_propose_days_up_to_twelve_have_two_orders():
    proposal = propose_date_formats(["01/02/2024", "03/04/2024"])
    assert (proposal.formats, proposal.is_certain) == (("%d/%m/%Y", "%m/%d/%Y"), False)
    assert proposal.suggest_options("joined on") == (
        "'01/02/2024', day first: --date 'joined on' --date-format 'joined on=%d/%m/%Y', or month "
        "first: --date 'joined on' --date-format 'joined on=%m/%d/%Y'"
    )


def test_propose_years_of_two_digits_are_not_certain():
    assert not propose_date_formats([day.strftime("%d.%m.%y") for day in DAYS]).is_certain


def test_propose_few_odd_cells_are_named():
    texts = [*(day.strftime("%d/%m/%Y") for day in DAYS), "TBD", "30/02/2024"]
    proposal = propose_date_formats(texts)
    assert (proposal.others, proposal.is_certain) == (("TBD", "30/02/2024"), False)
    advice = proposal.suggest_options("joined")
    assert "once the cells 'TBD', '30/02/2024' are corrected or empty" in advice


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
def test_propose_other_texts_have_no_format(texts):
    assert propose_date_formats(texts) is None


def test_propose_every_common_format_is_found():
    for day_format in (*date_formats.DAY_FORMATS, *date_formats.SHORT_YEAR_FORMATS):
        for time_format in date_formats.TIME_FORMATS:
            date_format = f"{day_format}{time_format}"
            text = DAYS[-1].strftime(date_format).removesuffix("%z")
            assert propose_date_formats([text + "Z" * date_format.endswith("%z")])


@pytest.fixture
def infer(create_source):
    """Return a function that infers the profile of a column of texts."""

    def infer(texts, **options):
        source = create_source({"x": texts, "y": ["a"] * len(texts)})
        return infer_columns(source, ReadOptions(**options))[0]

    return infer


def test_infer_certain_format_makes_dates(infer):
    profile = infer(["22/06/2025", "01/07/2025", "NA", "22/06/2025"])
    assert (profile.kind, profile.format) == ("date", "%d/%m/%Y")
    assert (profile.gaps, profile.distinct) == (1, 2)
    assert (profile.minimum, profile.maximum) == (1750550400, 1751328000)
    assert "--date-format x=%d/%m/%Y" in profile.proposal


def test_infer_uncertain_format_is_proposed(infer):
    profile = infer(["02/06/2025", "01/07/2025"])
    assert (profile.kind, profile.words) == ("category", ("01/07/2025", "02/06/2025"))
    assert "--date-format x=%d/%m/%Y" in profile.proposal
    assert "--date-format x=%m/%d/%Y" in profile.proposal


@pytest.mark.parametrize("formats", [("x=%m/%d/%Y",), ("%m/%d/%Y",)])
def test_infer_format_by_option_is_read_as_well_as_iso8601(infer, formats):
    options = {"date": ("x",), "date_format": formats}
    profile = infer(["02/06/2025", "2025-02-07"], **options)
    assert (profile.kind, profile.minimum, profile.maximum) == ("date", 1738800000, 1738886400)
    assert profile.proposal == ""
    with pytest.raises(DataError, match=r"written %m/%d/%Y.* in 'x'; got '22/06/2025' in row 2"):
        infer(["02/06/2025", "22/06/2025"], **options)


def test_infer_category_by_option_stays_a_category(infer):
    profile = infer(["22/06/2025", "01/07/2025"], category=("x",))
    assert (profile.kind, profile.proposal) == ("category", "")


def test_infer_target_of_dates_keeps_its_words(create_source):
    source = create_source({"x": ["1", "2"], "y": ["22/06/2025", "01/07/2025"]})
    assert infer_columns(source, ReadOptions())[1].kind == "category"


def test_infer_too_many_texts_of_dates_are_refused_with_their_format(infer, monkeypatch):
    monkeypatch.setattr("trainer.data.files.column_kinds.MAX_CATEGORY_TEXTS", 100)
    with pytest.raises(DataError, match="--date-format x=%d/%m/%Y"):
        infer([day.strftime("%d/%m/%Y") for day in DAYS])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"date_format": ("%d/%m/%Y",)}, "the date format alone"),
        ({"date_format": ("x=%d/%m/%Y", "x=%m/%d/%Y")}, "one date format for 'x'; got two"),
        ({"date_format": ("%d/%m/%Y", "%m/%d/%Y"), "date": ("x",)}, "one date format for all"),
        ({"date_format": ("z=%d/%m/%Y",)}, "names of columns out of 'x', 'y'; got 'z'"),
        ({"date_format": ("x=%d/%m/%Y",), "number": ("x",)}, "one kind for 'x'; got two"),
    ],
)
def test_infer_date_format_that_applies_to_no_column_is_refused(infer, options, message):
    with pytest.raises(DataError, match=message):
        infer(["02/06/2025"], **options)
