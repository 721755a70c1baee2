import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.bundle import canonicalize_text
from tests.fuzzing import examples
from trainer.data.files.cell_texts import find_gaps, suggest_correction, to_codes, to_texts

GAPS = ["", " ", "NA", "n/a", "N/A", "NaN", "nan", "null", "NULL", "None", "?", " ? ", "NaT", None]
DECOMPOSED = "e\u0301"


def test_to_texts_default_gaps_are_null():
    assert to_texts(pa.array(GAPS)).null_count == len(GAPS)


def test_find_gaps_default_gaps_are_found():
    assert find_gaps(pa.array([*GAPS, "x"])).tolist() == [True] * len(GAPS) + [False]


def test_to_codes_words_are_positions_and_others_missing():
    array = pa.array(["b", " a", "c", "", None, "b "])
    assert to_codes(array, pa.array(["a", "b"])).tolist() == [1, 0, -1, -1, -1, 1]
    assert to_codes(pa.array([2, None, 1]), pa.array(["1", "2"])).tolist() == [1, -1, 0]


TEXTS = st.one_of(
    st.text(),
    st.text("0123456789.-+ \t", max_size=6),
    st.sampled_from(
        ["007", "1.0", "-2.00", "-0", "-0.0", "1.", ".0", "1.50", "+1.0", "٣.0", DECOMPOSED]
    ),
)


@given(texts=st.lists(TEXTS, min_size=1))
@examples(300)
def test_to_texts_any_texts_have_the_spelling_of_canonicalize_text(texts):
    result = to_texts(pa.array(texts, pa.string()), ()).to_pylist()
    assert result == [canonicalize_text(text) or None for text in texts]


@given(text=TEXTS)
@examples(300)
def test_canonicalize_text_canonical_text_does_not_change(text):
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
def test_to_texts_every_type_has_one_spelling(array, expected):
    assert to_texts(array, ()).to_pylist() == expected
    words = pa.array(sorted({text for text in expected if text is not None}))
    codes = to_codes(array, words, ())
    assert [None if code < 0 else words[code].as_py() for code in codes] == expected


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("1,5", "a decimal comma: use --decimal ,"),
        ("-1.234,56", "a decimal comma: use --decimal ,"),
        ("1 234,5", "a decimal comma: use --decimal ,"),
        ("1.234.567", "a decimal comma: use --decimal ,"),
        ("1,234.5", "thousands separators: use --decimal ."),
        ("1,234,567", "thousands separators: use --decimal ."),
        ("1\u00a0234", "thousands separators: use --decimal ."),
        ("1’234", "thousands separators: use --decimal ."),
        ("1,234", "use --decimal , or --decimal ."),
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
def test_suggest_correction_text_in_notation_is_named_with_remedy(text, advice):
    suggestion = suggest_correction(text)
    assert advice in suggestion if advice else not suggestion
