"""The values that each type of column accepts, and the errors for all others."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.bundle import (
    DEFAULT_GAP_TEXTS,
    BooleanColumn,
    CategoryColumn,
    DateColumn,
    NumberColumn,
    WrongNumberError,
    WrongValueError,
    create_column_schema,
)
from serving.bundle.column_schema import WrongCellError
from serving.bundle.quoting import UnparsedValue
from serving.codec.input_schema import InputSchema
from serving.codec.validation import validate_numbers
from serving.errors import InvalidInstancesError
from tests.fuzzing import examples
from tests.generated_columns import FLOATS, columns


def number(missing="refuse", name="n"):
    return NumberColumn(name=name, type="number", missing=missing, minimum=0, maximum=1)


def boolean(missing="refuse", name="b"):
    return BooleanColumn(name=name, type="boolean", missing=missing)


def category(*categories, missing="refuse", unseen="unknown", name="c"):
    return CategoryColumn(
        name=name, type="category", missing=missing, unseen=unseen, categories=list(categories)
    )


def date(missing="refuse", name="d"):
    return DateColumn(
        name=name, type="date", missing=missing, minimum="2000-01-01", maximum="2024-01-01"
    )


WORDS = ("red", "green")
A_DATE = (
    "a date in ISO 8601, such as 2024-05-17 or 2024-05-17T12:30:00Z, or a number of seconds since "
    "1970-01-01 UTC"
)
# The texts that pandas reads as missing values, and the "?" of data sets of UCI.
GAP_TEXTS = ["", "NA", "N/A", "#N/A", "<NA>", "NaN", "NaT", "null", "None", "?"]
OUT_OF_RANGE = ", which in seconds is outside the years 1 to 9999; were "
NO_GAP = ", and this column accepts no missing value"
SEND_NULL = "; for a missing value send null (NaN in binary, an empty value in CSV)"
IN_UTC = ", which in UTC is outside the years 1 to 9999"
ACCEPTED = [  # column, value, expected: the value as the graph takes it
    (number(), 1.5, 1.5),
    (number(), -3, -3.0),
    (number(), 2**64, 2.0**64),
    (number(), 3.4028235e38, 3.4028235e38),
    (number("impute"), None, math.nan),
    (boolean(), True, 1.0),
    (boolean(), False, 0.0),
    (boolean(), 1, 1.0),
    (boolean(), 0.0, 0.0),
    (boolean("impute"), None, math.nan),
    (category(*WORDS), "red", "red"),
    (category(*WORDS), " \t red\n", "red"),
    (category(*WORDS), "blue", "blue"),
    (category(*WORDS), "RED", "RED"),
    (category(*WORDS, missing="impute"), None, ""),
    (category(*WORDS, missing="impute"), " ", ""),
    (category("1", "-2", "30"), 30, "30"),
    (category("1", "-2", "30"), -2.0, "-2"),
    (category("1", "-2", "30"), 4, "4"),
    (category("1", "-2", "30"), "30", "30"),
    (category("1"), 2**60 + 1, str(2**60 + 1)),
    (category("0"), -0.0, "0"),
    (category("True", "False"), True, "True"),
    (category("true"), False, "false"),
    (category("true", "false"), "true", "true"),
    (date(), "1970-01-02", 86400.0),
    (date(), "1969-12-31T23:59:59.5", -0.5),
    (date(), "2024-02-29T12:30:00Z", 1709209800.0),
    (date(), "2024-02-29T12", 1709208000.0),
    (date(), "2024-02-29 12Z", 1709208000.0),
    (date(), "2024-02-29T12+02", 1709200800.0),
    (date(), " 1970-01-01T02:00+02:00 ", 0.0),
    (date(), "0001-01-01T00:00Z", -62135596800.0),
    (date(), -62135596800, -62135596800.0),
    (date(), "9999-12-31T23:59:59Z", 253402300799.0),
    (date(), 253402300799.5, 253402300799.5),
    (date(), "2600-01-01T23:59:59.999999", math.nextafter(19880985600, 0)),
    (date(), "1969-12-31T23:59:59.9999999999999999999", -1e-19),
    (date(), 0, 0.0),
    (date(), 1715904000.25, 1715904000.25),
    (date("impute"), None, math.nan),
    (date("impute"), " N/A ", math.nan),
    (date("impute"), "", math.nan),
    (boolean(), 1 + 2.0**-30, 1 + 2.0**-30),
    (category("True", "False"), "TRUE", "True"),
    (category("true", "false"), " False", "false"),
    (category("1", "0"), "1.0", "1"),
    (category("1", "0"), "-0.0", "0"),
    (category("1"), "9" * 300, "9" * 256),
    (category("1" * 300), "9" * 400, "9" * 301),
]


@pytest.mark.parametrize(("column", "value", "expected"), ACCEPTED)
def test_validate_accepted_value_returns_what_the_graph_takes(column, value, expected):
    (validator,) = InputSchema([column]).columns
    found = validator.validate(value)
    assert type(found) is type(expected)
    np.testing.assert_equal(found, expected)
    np.testing.assert_equal(validator.validate_all([value, value]), [expected, expected])


REFUSED = [  # column, value, expected, got
    (number(), True, "a finite number", "true"),
    (number(), "1", "a finite number", 'the text "1"'),
    (number(), None, "a finite number", "null, and this column accepts no missing value"),
    (number(), math.nan, "a finite number", f"the number NaN{NO_GAP}"),
    (number("impute"), math.nan, "a finite number", f"the number NaN{SEND_NULL}"),
    (number(), math.inf, "a finite number", f"a number that float32 cannot hold{NO_GAP}"),
    (
        number("impute"),
        -math.inf,
        "a finite number",
        f"a number that float32 cannot hold{SEND_NULL}",
    ),
    (number("impute"), " NaN", "a finite number", f'the text " NaN"{SEND_NULL}'),
    (number("impute"), "-Infinity", "a finite number", f'the text "-Infinity"{SEND_NULL}'),
    (number(), "N/A", "a finite number", f'the text "N/A"{NO_GAP}'),
    (number("impute"), "nano", "a finite number", 'the text "nano"'),
    (number(), -1e39, "a finite number", "a number that float32 cannot hold"),
    (number("impute"), UnparsedValue.LIST, "a finite number", "a list"),
    (boolean(), 2, "true or false", "the number 2"),
    (boolean(), "true", "true or false", 'the text "true"'),
    (boolean(), math.nan, "true or false", f"the number NaN{NO_GAP}"),
    (boolean("impute"), "nan", "true or false", f'the text "nan"{SEND_NULL}'),
    (boolean("impute"), math.inf, "true or false", f"the number Infinity{SEND_NULL}"),
    (category(*WORDS, missing="impute"), math.nan, "a text", f"the number NaN{SEND_NULL}"),
    (category("1"), math.nan, "a text or a whole number", f"the number NaN{NO_GAP}"),
    (boolean(), None, "true or false", "null, and this column accepts no missing value"),
    (category(*WORDS), 1, "a text", "the number 1"),
    (category(*WORDS), True, "a text", "true"),
    (category(*WORDS), UnparsedValue.OBJECT, "a text", "an object"),
    (category(*WORDS), "", "a text", "an empty text, and this column accepts no missing value"),
    (category(*WORDS), "\ud800", "a text that UTF-8 can hold", 'the text "\\ud800"'),
    (category(*WORDS, unseen="refuse"), "blue", 'one of "red", "green"', 'the text "blue"'),
    (
        category(*map(str, range(9)), unseen="refuse"),
        9,
        'one of "0", "1", "2", "3", "4" and 4 more',
        'the text "9"',
    ),
    (category("1", "2"), 1.5, "a text or a whole number", "the number 1.5"),
    (category("1", "2"), 1e300, "a text or a whole number", "the number 1e+300"),
    (category("1", "2"), True, "a text or a whole number", "true"),
    (category("007", "008"), 7, "a text", "the number 7"),
    (category("True", "False"), 1, "a text, true or false", "the number 1"),
    (category("True", "true"), True, "a text", "true"),
    (date(), "17.05.2024", A_DATE, 'the text "17.05.2024"'),
    (date(), "2023-02-29", A_DATE, 'the text "2023-02-29"'),
    (date(), True, A_DATE, "true"),
    (date("impute"), math.nan, A_DATE, f"the number NaN{SEND_NULL}"),
    (
        date(),
        math.inf,
        A_DATE,
        f"the number Infinity, which is outside the years 1 to 9999{NO_GAP}",
    ),
    (date("impute"), "inf", A_DATE, f'the text "inf"{SEND_NULL}'),
    (
        date(),
        1715904000e3,
        A_DATE,
        f"the number 1715904000000.0{OUT_OF_RANGE}milliseconds meant? divide by 1000",
    ),
    (
        date(),
        -(10**16),
        A_DATE,
        f"the number -10000000000000000{OUT_OF_RANGE}microseconds meant? divide by 1000000",
    ),
    (
        date(),
        2 * 10**18,
        A_DATE,
        f"the number 2000000000000000000{OUT_OF_RANGE}nanoseconds meant? divide by 1000000000",
    ),
    (
        date(),
        253402300800,
        A_DATE,
        f"the number 253402300800{OUT_OF_RANGE}milliseconds meant? divide by 1000",
    ),
    (
        date(),
        -62135596800.5,
        A_DATE,
        f"the number -62135596800.5{OUT_OF_RANGE}milliseconds meant? divide by 1000",
    ),
    (date(), "9999-12-31T23:00-01:00", A_DATE, f'the text "9999-12-31T23:00-01:00"{IN_UTC}'),
    (date(), "0001-01-01T00:00+23:59", A_DATE, f'the text "0001-01-01T00:00+23:59"{IN_UTC}'),
    (date(), "86400", A_DATE, 'the text "86400"'),
    (date(), "NA", A_DATE, 'the text "NA", and this column accepts no missing value'),
    (boolean(), 1 + 2.0**-20, "true or false", "the number 1.0000009536743164"),
    (date(), "\ud800", A_DATE, 'the text "\\ud800"'),
]


@pytest.mark.parametrize(("column", "value", "expected", "got"), REFUSED)
def test_validate_wrong_value_error_names_expected_and_got(column, value, expected, got):
    (validator,) = InputSchema([column]).columns
    with pytest.raises(WrongValueError) as raised:
        validator.validate(value)
    assert (raised.value.expected, raised.value.got) == (expected, got)
    with pytest.raises(WrongValueError):
        validator.validate_all([value])


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
values |= st.sampled_from([*WORDS, "1", "2", "true", "2024-01-01", 0, 1, 1.0, 1e38, -0.0])


@pytest.mark.slow
@given(values)
def test_validate_all_any_value_agrees_with_validate(value):
    for column in (
        number(),
        boolean("impute"),
        category(*WORDS, unseen="refuse"),
        date("impute"),
        category("1", "2", missing="impute"),
        category("true", "false"),
    ):
        (validator,) = InputSchema([column]).columns
        try:
            validated = validator.validate(value)
        except WrongValueError:
            with pytest.raises(WrongValueError):
                validator.validate_all([value])
        else:
            np.testing.assert_equal(validator.validate_all([value]), [validated])


def test_build_inputs_only_mixed_tables_have_an_input_for_each_column():
    numbers = InputSchema([number(name="x"), boolean(name="y")])
    (rows,) = (inputs := numbers.build_inputs([[1.5, math.nan], [1.0, 0.0]])).values()
    assert list(inputs) == ["features"]
    assert (rows.dtype, rows.flags.c_contiguous) == (np.float32, True)
    np.testing.assert_array_equal(rows, np.array([[1.5, 1], [np.nan, 0]], "f4"))
    table = InputSchema([number(name="x"), category(*WORDS, name="y"), date(name="z")])
    by_column = table.build_inputs([[1.5, 2.5], ["red", ""], [1.0, math.nan]])
    assert {name: (a.dtype, a.shape) for name, a in by_column.items()} == {
        "x": (np.dtype("f4"), (2, 1)),
        "y": (np.dtype("O"), (2, 1)),
        "z": (np.dtype("f8"), (2, 1)),
    }


def test_build_inputs_no_rows_keeps_the_width():
    matrix = InputSchema([number(name="x"), number(name="y")]).build_inputs([[], []])
    assert matrix["features"].shape == (0, 2)
    assert InputSchema([category("a")]).build_inputs([[]])["c"].shape == (0, 1)


@pytest.mark.parametrize("write", [str, str.upper, str.lower, " {} ".format])
@pytest.mark.parametrize("text", GAP_TEXTS)
def test_validate_gap_text_in_any_case_is_a_gap(text, write):
    for column, gap in ((category(*WORDS, missing="impute"), ""), (date("impute"), math.nan)):
        (validator,) = InputSchema([column]).columns
        np.testing.assert_equal(validator.validate(write(text)), gap)
        np.testing.assert_equal(validator.validate_all([write(text)]), [gap])


def test_default_gap_texts_are_those_of_pandas_and_uci():
    assert sorted(map(str.lower, GAP_TEXTS)) == sorted(DEFAULT_GAP_TEXTS)


@pytest.mark.parametrize(
    ("factor", "unit"), [(10**3, "milliseconds"), (10**6, "microseconds"), (10**9, "nanoseconds")]
)
def test_validate_date_in_a_finer_unit_error_names_the_unit(factor, unit):
    (validator,) = InputSchema([date()]).columns
    seconds = 1_715_904_000  # 2024-05-17
    with pytest.raises(WrongValueError, match=f"were {unit} meant"):
        validator.validate(seconds * factor)


def test_validate_numbers_long_column_is_validated_in_blocks_by_the_same_rule():
    rows, last = 3 * 2**17 + 5, 3 * 2**17 + 3
    numbers = np.arange(rows, dtype=np.int64)
    valid = numbers % 7 != 0
    (accepting,) = InputSchema([number("impute")]).columns
    found = validate_numbers(accepting, numbers, 0, valid)
    np.testing.assert_array_equal(found, np.where(valid, numbers, np.nan))
    np.testing.assert_array_equal(validate_numbers(accepting, numbers), numbers)
    (refusing,) = InputSchema([number()]).columns
    valid = numbers != last
    with pytest.raises(InvalidInstancesError) as refused:
        validate_numbers(refusing, numbers, 10, valid)
    assert refused.value.details["instance"] == 10 + last


# Python's `fromisoformat` accepts most of these; the documented forms are fewer.
@pytest.mark.parametrize(
    "text",
    [
        "20240517",
        "2024-W20-5",
        "2024W205",
        "2024-05-17T123000",
        "2024-05-17x12:30",
        "2024-05-17T12:30:00,5",
        "2024-05-17T12:30+02:00:30",
    ],
)
def test_validate_date_in_another_form_of_iso_8601_is_refused(text):
    (validator,) = InputSchema([date()]).columns
    with pytest.raises(WrongValueError, match=r"^expected a date in ISO 8601, such as"):
        validator.validate(text)


@pytest.mark.parametrize("text", ["2024-02-30", "2024-05-17T25:00", "0000-01-01", "2024-13-01"])
def test_validate_impossible_date_is_refused(text):
    (validator,) = InputSchema([date()]).columns
    with pytest.raises(WrongValueError, match=r"^expected a date in ISO 8601, such as"):
        validator.validate(text)


def test_validate_boolean_accepts_the_manifests_texts_in_any_case():
    spelled = BooleanColumn(
        name="b", type="boolean", missing="impute", texts={"yes": True, "no": False}
    )
    (validator,) = InputSchema([spelled]).columns
    texts = ["yes", " No ", "YES", "1", "FALSE", True, 0, None, "NA"]
    np.testing.assert_array_equal(
        np.array(validator.validate_all(texts), float), [1, 0, 1, 1, 0, 1, 0, np.nan, np.nan]
    )
    for text in ("y", "maybe", "2", "yes" * 10**5):
        with pytest.raises(WrongValueError, match='true or false, or "yes", "no"'):
            validator.validate(text)
    with pytest.raises(WrongValueError):
        InputSchema([boolean()]).columns[0].validate("true")


def test_validate_date_accepts_the_manifests_format_and_iso_8601():
    column = date(missing="impute").model_copy(update={"format": "%d/%m/%Y"})
    (validator,) = InputSchema([column]).columns
    assert (
        validator.validate(" 22/06/2025 ")
        == validator.validate("2025-06-22")
        == validator.validate(1750550400)
    )
    assert math.isnan(validator.validate("NA"))
    for text in ("06/22/2025", "22/06/25", "2" * 10**6):
        with pytest.raises(WrongValueError, match="a date written %d/%m/%Y, in ISO 8601"):
            validator.validate(text)


@examples(200)
@given(columns(), st.lists(st.floats(width=64) | FLOATS, min_size=1, max_size=4))
def test_validate_numbers_any_column_agrees_with_validate(column, numbers):
    schema = create_column_schema(column)
    expected = []
    for index, value in enumerate(numbers):
        try:
            expected.append(schema.validate(None if math.isnan(value) else value))
        except WrongValueError as wrong:
            with pytest.raises(WrongNumberError) as raised:
                schema.validate_numbers(np.array(numbers))
            assert (raised.value.index, raised.value.is_gap) == (index, wrong.is_gap)
            return
    found = schema.validate_numbers(np.array(numbers))
    np.testing.assert_array_equal(found, np.array(expected, found.dtype))


def test_validate_date_negative_zero_is_zero_as_in_arrays():
    (schema,) = InputSchema([date()]).columns
    assert math.copysign(1, schema.validate(-0.0)) == 1
    assert math.copysign(1, schema.validate_numbers(np.array([-0.0]))[0]) == 1


@pytest.mark.parametrize("written", ["seconds", "%Y%m%d"])
def test_validate_date_text_of_a_number_that_means_a_gap_is_a_gap(written):
    column = date("impute").model_copy(update={"format": written, "gaps": ["19000101"]})
    (schema,) = InputSchema([column]).columns
    for value in ("19000101", "19000101.0", 19000101, 19000101.0):
        assert math.isnan(schema.validate(value))
    assert not math.isnan(schema.validate("19000102.0"))


def test_to_timestamp_schema_no_moment_stands_for_a_gap():
    column = date("impute").model_copy(update={"gaps": ["-999"]})
    (schema,) = InputSchema([column]).columns
    assert math.isnan(schema.validate(-999))
    assert schema.to_timestamp_schema().validate_numbers(np.array([-999.0])).tolist() == [-999]
    assert create_column_schema(number()).to_timestamp_schema() is None


def test_parse_cell_is_the_value_that_json_has():
    def parse(column, text):
        return create_column_schema(column).parse_cell(text)

    assert parse(number(), " 1.5 ") == 1.5
    assert parse(number(), "1_0") == "1_0"
    assert parse(boolean(), "TRUE") is True
    assert parse(boolean(), "0.0") == 0
    assert parse(category("1"), " 1.0") == " 1.0"
    assert parse(date(), "86400") == 86400
    for column in (number(), boolean(), category("1"), date()):
        assert parse(column, " NA ") is None
    with pytest.raises(WrongCellError, match="which may be either; write 2024-05-17 for the day"):
        parse(date(), "20240517")
