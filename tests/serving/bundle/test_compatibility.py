"""Breaking changes between versions agree with what the codec accepts for each version."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.bundle import (
    DEFAULT_GAP_TEXTS,
    BooleanColumn,
    CategoryColumn,
    DateColumn,
    Manifest,
    NumberColumn,
    find_breaking_changes,
)
from serving.codec.csv import decode_csv
from serving.codec.input_schema import InputSchema
from serving.codec.open_inference import build_tensor_metadata
from serving.codec.rows import decode_json
from serving.errors import ServingError
from tests.fuzzing import examples

VARIANT = {
    "file": "model.onnx",
    "sha256": "0" * 64,
    "size_bytes": 1,
    "metrics": {},
    "latency_us": {},
    "parity": {"rows": 1, "max_abs": 0, "max_rel": 0, "label_agreement": None},
}
FILES = {"selftest.npz": "0" * 64, "reference.json": "0" * 64}


def manifest(columns, task="binary", classes=("no", "yes"), target=("y",)):
    return Manifest(
        schema_version=1,
        name="m",
        version=1,
        created="",
        task=task,
        inputs=list(columns),
        classes=None if classes is None else list(classes),
        threshold=None,
        parameters=1,
        metrics={},
        variants={"fp32": VARIANT},
        files=FILES,
        data={"source": "", "fingerprint": "", "target": list(target), "rows": {}},
        training={"config": {}, "epochs_run": 1, "best_epoch": 1, "seconds": 1},
        libraries={},
    )


def number(name="age", missing="impute", maximum=1):
    return NumberColumn(name=name, type="number", missing=missing, minimum=0, maximum=maximum)


def boolean(name="age", missing="impute"):
    return BooleanColumn(name=name, type="boolean", missing=missing)


def category(*categories, name="work", unseen="refuse", missing="impute", **more):
    return CategoryColumn(
        name=name,
        type="category",
        missing=missing,
        unseen=unseen,
        categories=list(categories),
        **more,
    )


NORMALIZED = {"normalized": True}


def date(name="age", missing="impute"):
    return DateColumn(
        name=name, type="date", missing=missing, minimum="2000-01-01", maximum="2001-01-01"
    )


BASE = (number(), category("a", "b"), number("pay"))


def find_changes_of_columns(before, after):
    return find_breaking_changes(manifest(before), manifest(after))


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (BASE[1:], ["it has no column 'age'"]),
        ((*BASE, number("height")), ["it has the new column 'height'"]),
        ((*BASE, number("height", "refuse")), ["it has the new column 'height'"]),
        (
            (number("years"), *BASE[1:]),
            ["it has no column 'age'", "it has the new column 'years'"],
        ),
        ((BASE[2], BASE[1], BASE[0]), ["its column 1 is 'pay' instead of 'age'"]),
        ((boolean(), *BASE[1:]), ["its column 'age' is of type boolean instead of number"]),
        ((date(), *BASE[1:]), ["its column 'age' is of type date instead of number"]),
        ((number(missing="refuse"), *BASE[1:]), ["its column 'age' refuses gaps"]),
        (
            (BASE[0], category("b", "c"), BASE[2]),
            ["its column 'work' refuses the category 'a'"],
        ),
        ((BASE[0], category("a", "b", "c"), BASE[2]), []),
        ((BASE[0], category("c", unseen="unknown"), BASE[2]), []),
        ((number(maximum=0.5), *BASE[1:]), []),
    ],
)
def test_find_breaking_changes_column_changed_is_listed(after, expected):
    assert find_changes_of_columns(BASE, after) == expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (
            category("a", unseen="unknown"),
            category("a"),
            ["its column 'work' refuses unknown categories"],
        ),
        (
            category("1", "2"),
            category("1", "2", "other"),
            ["its column 'work' accepts only texts, no numbers"],
        ),
        (
            category("true", "false", unseen="unknown"),
            category("true", "false", "maybe", unseen="unknown"),
            ["its column 'work' accepts only texts, neither true nor false"],
        ),
        (category("true", "false"), category("True", "False"), []),
        (category("a", "none"), category("a"), []),  # in the second column, "none" is a gap
        (
            category("a", "none"),
            category("a", missing="refuse"),
            ["its column 'work' refuses gaps", "its column 'work' refuses the category 'none'"],
        ),
        # The model was trained again after the upgrade, and accepts the same requests.
        (category("1.0", "2.0"), category("1", "2", **NORMALIZED), []),
        (category("1", "2"), category("1", "2", "A", **NORMALIZED), []),
        (category("cafe\u0301"), category("caf\u00e9", **NORMALIZED), []),
        (
            category("caf\u00e9", **NORMALIZED),
            category("caf\u00e9"),
            ["its column 'work' refuses the category 'caf\u00e9'"],
        ),
        (
            category("1.5", "2", **NORMALIZED),
            category("1.5", "2"),
            ["its column 'work' accepts only texts, no numbers"],
        ),
        (
            category("1.5", **NORMALIZED),
            category("1", "1.5x", unseen="unknown", **NORMALIZED),
            ["its column 'work' accepts only whole numbers"],
        ),
        (
            category("a"),
            category("a", gaps=["na"]),
            ["its column 'work' refuses the gap text '#n/a', '<na>', '?', 'n/a', 'nan' and 3 more"],
        ),
        (
            date(name="work"),
            date(name="work").model_copy(update={"gaps": list(DEFAULT_GAP_TEXTS[:-1])}),
            ["its column 'work' does not read '?' as a gap"],
        ),
    ],
)
def test_find_breaking_changes_categories_or_gaps_changed_are_listed(before, after, expected):
    assert find_changes_of_columns([before], [after]) == expected


def test_find_breaking_changes_column_name_is_normalized_as_in_requests():
    decomposed, composed = number("cafe\u0301"), number("caf\u00e9")
    assert find_changes_of_columns([decomposed], [composed]) == []
    assert len(find_changes_of_columns([composed], [decomposed])) == 2


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ({"classes": ("yes", "no")}, ["its class 1 is 'yes' instead of 'no'"]),
        ({"classes": ("no",)}, ["it has no class 'yes'"]),
        ({"classes": ("no", "perhaps", "yes")}, ["it has the new class 'perhaps'"]),
        ({"task": "multiclass"}, ["its task is multiclass instead of binary"]),
        (
            {"task": "regression", "classes": None},
            ["its task is regression instead of binary"],
        ),
        ({"target": ("z",)}, ["it has no target 'y'", "it has the new target 'z'"]),
    ],
)
def test_find_breaking_changes_outputs_changed_are_listed(after, expected):
    assert find_breaking_changes(manifest(BASE), manifest(BASE, **after)) == expected


def test_find_breaking_changes_number_and_text_are_different_classes():
    texts, numbers = [manifest(BASE, classes=classes) for classes in (("0", "1"), (0, 1))]
    assert find_breaking_changes(texts, numbers) == [
        "it has no class '0', '1'",
        "it has the new class 0, 1",
    ]


def test_find_breaking_changes_order_of_targets_counts():
    before, after = [
        manifest(BASE, task="regression", classes=None, target=target) for target in ("xyz", "xzy")
    ]
    assert find_breaking_changes(before, after) == ["its target 2 is 'z' instead of 'y'"]


def test_find_breaking_changes_many_and_long_names_are_cut():
    before = [category(*(f"{n}{'x' * 1000}" for n in range(1000)), name="n" * 1000)]
    before += [number(f"{n}{'x' * 1000}") for n in range(1000)]
    after = [category("other", name="n" * 1000)]
    found = find_changes_of_columns(before, after)
    assert len(found) == 2
    assert all(len(difference) < 400 for difference in found)
    assert "and 995 more" in found[0]


NAMES = st.sampled_from(["a", "b", "c"])
MISSING = st.sampled_from(["impute", "refuse"])
ACCENTED = "\u00e9"
CATEGORY_TEXTS = ["1", "2", "3", "true", "false", "True", "x", "na", "1.5", ACCENTED]
COLUMN_OPTIONS = st.sampled_from(
    [{}, {"normalized": True}, {"normalized": True, "gaps": []}, {"gaps": ["x"]}]
)
COLUMNS = st.one_of(
    st.builds(number, NAMES, MISSING),
    st.builds(boolean, NAMES, MISSING),
    st.builds(date, NAMES, MISSING),
    st.builds(
        lambda name, missing, unseen, texts, options: category(
            *texts, name=name, missing=missing, unseen=unseen, **options
        ),
        NAMES,
        MISSING,
        st.sampled_from(["refuse", "unknown"]),
        st.lists(st.sampled_from(CATEGORY_TEXTS), min_size=1, max_size=4, unique=True),
        COLUMN_OPTIONS,
    ),
)


def draw_similar_column(column):
    """Return a strategy for columns with the same name and type."""
    if not isinstance(column, CategoryColumn):
        return MISSING.map(lambda missing: column.model_copy(update={"missing": missing}))
    more = st.lists(st.sampled_from(CATEGORY_TEXTS), max_size=2)
    return st.builds(
        lambda kept, more, unseen, options: category(
            *dict.fromkeys([*column.categories[:kept], *more]),
            name=column.name,
            missing=column.missing,
            unseen=unseen,
            **options,
        ),
        st.integers(1, 4),
        more,
        st.sampled_from(["refuse", "unknown"]),
        COLUMN_OPTIONS,
    )


TABLES = st.lists(COLUMNS, min_size=1, max_size=3, unique_by=lambda column: column.name)
VALUES = st.sampled_from(
    [
        None,
        True,
        False,
        0,
        1,
        2,
        7,
        1.5,
        *CATEGORY_TEXTS,
        "other",
        "2020-01-01",
        "",
        "1.0",
        "-0.0",
        "none",
        "e\u0301",
    ]
)


@given(data=st.data())
@examples(1000)
def test_find_breaking_changes_none_every_accepted_request_stays_accepted(data):
    before = data.draw(TABLES)
    # Two independent random tables would hardly ever be compatible.
    after = [data.draw(st.one_of(st.just(c), draw_similar_column(c), COLUMNS)) for c in before]
    after = data.draw(st.sampled_from([after, after[::-1], after[1:], [*after, number("d")]]))
    if not after or len({column.name for column in after}) < len(after):
        return
    if find_changes_of_columns(before, after):
        return
    assert build_tensor_metadata(manifest(before)) == build_tensor_metadata(manifest(after))
    values = [data.draw(st.one_of(VALUES, st.sampled_from(typical_values(c)))) for c in before]
    names = data.draw(st.lists(NAMES, max_size=3, unique=True))
    named = {column.name: value for column, value in zip(before, values, strict=True)}
    record = {name: value for name, value in named.items() if name in names}
    row = values
    bodies = [
        (decode_json, json.dumps({"instances": [record]}).encode()),
        (decode_json, json.dumps({"instances": [row]}).encode()),
        (decode_csv, ",".join("" if value is None else str(value) for value in row).encode()),
    ]
    for decode, body in bodies:
        if is_accepted(decode, body, before):
            assert is_accepted(decode, body, after), body


def typical_values(column):
    """Return values that a column probably accepts."""
    if not isinstance(column, CategoryColumn):
        return [0, 1]
    values = [{"true": True, "false": False}.get(text.lower(), text) for text in column.categories]
    return [int(text) if text in ("1", "2", "3") else text for text in values]


def is_accepted(decode, body, columns):
    try:
        decode(body, InputSchema(columns))
    except ServingError:
        return False
    return True


@given(before=TABLES, after=TABLES)
@examples(200)
def test_find_breaking_changes_none_columns_and_their_order_are_equal(before, after):
    if not find_changes_of_columns(before, after):
        assert [c.name for c in before] == [c.name for c in after]
    assert find_changes_of_columns(before, before) == []


def test_find_breaking_changes_truth_texts_or_date_formats_changed_are_listed():
    def truths(**texts):
        return manifest([BooleanColumn(name="paid", type="boolean", missing="impute", texts=texts)])

    def dates(date_format):
        return manifest(
            [
                DateColumn(
                    name="since",
                    type="date",
                    missing="impute",
                    minimum="2000-01-01",
                    maximum="2024-01-01",
                    format=date_format,
                )
            ]
        )

    yes, both = truths(yes=True, no=False), truths(yes=True, no=False, y=True, n=False)
    assert find_breaking_changes(yes, both) == []
    assert find_breaking_changes(truths(), yes) == []
    assert find_breaking_changes(both, yes) == [
        "its column 'paid' refuses 'y', 'n' as a truth value"
    ]
    assert find_breaking_changes(truths(on=True), truths(on=False))
    assert find_breaking_changes(dates("iso8601"), dates("%d/%m/%Y")) == []
    assert find_breaking_changes(dates("%d/%m/%Y"), dates("%d/%m/%Y")) == []
    for after in ("iso8601", "%m/%d/%Y"):
        assert find_breaking_changes(dates("%d/%m/%Y"), dates(after)) == [
            "its column 'since' does not read dates written '%d/%m/%Y'"
        ]
