"""Random columns of every type with their rules, and random values to send in them."""

from __future__ import annotations

from hypothesis import strategies as st

from serving.bundle import BooleanColumn, CategoryColumn, DateColumn, NumberColumn

NAME = "c"
# Texts that stand for a gap: the default ones, none, and some with numbers.
GAPS = st.sampled_from([None, [], ["-", "n/d"], ["-999", "n/a"], ["", "nan", "-1", "0.1"]])
MISSING = st.sampled_from(["impute", "refuse"])
CATEGORIES = st.sampled_from(
    [
        ["red", "green, blue", "é"],
        ["1", "2", "-3", "12345678901234567"],
        ["1", "2.5", "0.1", "007", "A"],
        ["true", "False"],
        ["NA", "none", "x"],
        ["True", "true", "-999"],
    ]
)
FORMATS = st.sampled_from(
    ["iso8601", "%d/%m/%Y", "%Y-%m-%d %H:%M:%S", "%Y%m%d", "seconds", "milliseconds", "nanoseconds"]
)
TEXT_POOL = (
    *("", " ", "NA", "nan", "-", "N/D", "n/a", "none", "-999", "-999.0", "?", "NaN", "inf"),
    *("true", "False", "1", "0", "yes", "No", " TRUE", "t", "on"),
    *("5", "2.5", " 1.0", "-3", "007", "1e3", "1e400", "+1", ".5", "5.", "1_0", "0x1", "0.1"),
    *("red", "green, blue", "e\u0301", "é ", "A", "12345678901234567", "12345678901234568"),
    *("2024-05-17", "2024-05-17T12:30:00Z", "2024-05-17 12:30", "2024-05-17T12:30:00.1234567"),
    *("2024-05-17T12", "2024-02-30", "20240517", "2024", "17/05/2024", "2024-05-17 12:30:00"),
    *("1715904000", "1715904000000", "1715904000123456789", "0001-01-01T00:00+23:59"),
    *("20240517T123000", "2024-05-17T12:30:00,5", "9999-12-31T23:59:59.9999999"),
)
INTEGERS = st.sampled_from(
    (
        *(0, 1, 2, -3, -1, -999, 2**24 + 1, 2**53 + 1, 12345678901234567, -(2**63), 2**63 - 1),
        *(2024, 20240517, 86400, 1715904000, 1715904000000, 1715904000123456789),
    )
)
FLOATS = st.sampled_from(
    (
        *(0.0, -0.0, 1.0, 2.5, 0.1, -999.0, -1.0, 1 + 2.0**-40, 0.5, 1.5e-46, 2.0**53, 20240517.0),
        *(3.4028235e38, 3.4028236e38, 1e39, -1e300, 1.7976931348623157e308, 1715904000.5),
    )
)


@st.composite
def columns(draw, kinds=("number", "float64", "boolean", "category", "date"), name=NAME):
    """Return a column of one of the kinds with random rules."""
    rules = {"name": name, "missing": draw(MISSING), "gaps": draw(GAPS)}
    match draw(st.sampled_from(kinds)):
        case "boolean":
            texts = draw(st.sampled_from([{}, {"yes": True, "no": False}]))
            return BooleanColumn(type="boolean", texts=texts, **rules)
        case "category":
            return CategoryColumn(
                type="category",
                categories=draw(CATEGORIES),
                unseen=draw(st.sampled_from(["refuse", "unknown"])),
                normalized=draw(st.booleans()),
                **rules,
            )
        case "date":
            range_ = {"minimum": "2000-01-01", "maximum": "2024-01-01"}
            return DateColumn(type="date", format=draw(FORMATS), **range_, **rules)
        case kind:
            dtype = "float64" if kind == "float64" else "float32"
            return NumberColumn(type="number", dtype=dtype, minimum=0, maximum=1, **rules)


def texts():
    """Return texts as files have them: those of every rule above, in any case, and others."""
    characters = st.characters(exclude_categories=("Cs", "Cc"))
    pool = st.sampled_from(TEXT_POOL)
    return pool | pool.map(str.upper) | pool.map(" {} ".format) | st.text(characters, max_size=4)


@st.composite
def values(draw):
    """Return a few values of one Python type, None for gaps."""
    strategies = {
        "texts": texts(),
        "integers": INTEGERS | st.integers(-(2**63), 2**63 - 1),
        "floats": FLOATS | st.floats(allow_nan=False, allow_infinity=False),
        "booleans": st.booleans(),
    }
    chosen = strategies[draw(st.sampled_from(sorted(strategies)))]
    return draw(st.lists(st.none() | chosen, min_size=1, max_size=4))
