import numpy as np
import pyarrow as pa
import pytest

from trainer.data.files import cell_parsing
from trainer.data.files.cell_texts import advice


@pytest.mark.parametrize(
    ("decimal", "text", "value"),
    [
        (",", "1,5", 1.5),
        (",", " -1.234,5 ", -1234.5),
        (",", "1.234.567", 1234567),
        (",", "1.234", 1234),
        (",", "1 234,5", 1234.5),
        (",", "1\u202f234", 1234),
        (",", "1'234,5", 1234.5),
        (",", "2e3", 2000),
        (",", "1,5e3", 1500),
        (",", "1.5", None),
        (",", "0.123", None),  # no thousands
        (",", "12.34,5", None),
        (",", "1 234.567", None),
        (",", "1,234.5", None),
        (".", "1,234.56", 1234.56),
        (".", "1,234", 1234),
        (".", "1'234.5", 1234.5),
        (".", "1.5", 1.5),
        (".", "1,5", None),
        (".", "1.234,5", None),
        (".", "0,123", None),
        (None, "1,234", None),
        (None, "1.5", 1.5),
    ],
)
def test_numbers_are_read_with_the_decimal_sign_that_is_said(decimal, text, value):
    found = cell_parsing.numbers(pa.array([text, None, "NA"]), decimal=decimal)
    if value is None:
        assert found is None
    else:
        np.testing.assert_array_equal(found, [value, np.nan, np.nan])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1,5", "a decimal comma: say --decimal ,"),
        ("-1.234,56", "a decimal comma: say --decimal ,"),
        ("1 234,5", "a decimal comma: say --decimal ,"),
        ("1.234.567", "a decimal comma: say --decimal ,"),
        ("1,234.5", "thousands separators: say --decimal ."),
        ("1,234,567", "thousands separators: say --decimal ."),
        ("1\u00a0234", "thousands separators: say --decimal ."),
        ("1’234", "thousands separators: say --decimal ."),
        ("1,234", "say --decimal , or --decimal ."),
        ("€ 5", "a currency sign"),
        ("$1,234.50", "a currency sign"),
        ("-5,20 EUR", "a currency sign"),
        ("USD 7", "a currency sign"),
        ("12 %", "a percent sign"),
        ("12,5%", "a percent sign"),
        ("31.12.2024", "--date-format"),
        ("12/31/24", "--date-format"),
        ("2024/12/31 10:00", "--date-format"),
        ("n.a.", ""),
        ("A1", ""),
        ("1.5", ""),
    ],
)
def test_how_a_text_writes_a_number_is_named_with_what_to_do(text, said):
    found = advice(text)
    assert said in found if said else not found
