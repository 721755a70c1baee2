import re
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from trainer.data.checks import run as findings
from trainer.data.checks.run import REMEDIES, check_table
from trainer.data.records import Column, Records
from trainer.data.sources import load_table
from trainer.data.splits import Split, split_table
from trainer.data.tables import Table, make_table

N = 600


def table_of(target, task=None, groups=None, **columns):
    """Floats are numbers, truth values booleans, datetimes dates, and lists of text categories."""
    kinds = {"number": [], "date": [], "category": []}
    described = []
    for name, given in columns.items():
        values = np.asarray(given)
        if values.dtype.kind == "U":
            words = [word for word in np.unique(values) if word]
            places = {word: place for place, word in enumerate(words)} | {"": -1}
            described.append(Column(name, "category", tuple(words)))
            kinds["category"].append([places[text] for text in values.tolist()])
        elif values.dtype.kind == "M":
            described.append(Column(name, "date"))
            seconds = values.astype("datetime64[s]").astype(np.int64).astype(np.float64)
            kinds["date"].append(np.where(np.isnat(values), np.nan, seconds))
        else:
            described.append(Column(name, "boolean" if values.dtype.kind == "b" else "number"))
            kinds["number"].append(values.astype(np.float32))
    n = len(target)
    arrays = [
        np.array(kinds[kind], dtype).reshape(-1, n).T
        for kind, dtype in (("number", np.float32), ("date", np.float64), ("category", np.int32))
    ]
    made = make_table(
        source="by hand",
        records=Records(tuple(described), *arrays),
        target=np.asarray(target),
        target_names=("y",) if np.ndim(target) == 1 else ("y", "z"),
        task=task,
    )
    return Table(**{**vars(made), "groups": groups})


def found_in(table, parts=None):
    parts = parts or split_table(table, validation=0.15, test=0.15, seed=0)
    found = check_table(table, parts)
    names = [finding.name for finding in found]
    assert len(set(names)) == len(names)
    for finding in found:
        assert finding.remedy == REMEDIES[finding.name]
        assert re.search(r"\d", finding.detail)
    return {finding.name: finding for finding in found}


@pytest.fixture
def target(rng):
    return rng.integers(0, 3, N)


@pytest.fixture
def noise(rng):
    return rng.normal(size=N)


@pytest.mark.parametrize(
    "name", ["iris", "wine", "breast_cancer", "moons", "xor", "diabetes", "linnerud"]
)
def test_honest_tables_are_left_alone(name):
    assert found_in(load_table(name)) == {}


def test_of_the_digits_only_the_pixels_that_are_never_inked_are_named():
    table = load_table("digits")
    parts = split_table(table, validation=0.15, test=0.15, seed=0)
    found = found_in(table, parts)
    assert list(found) == ["constant_column"]
    blank = np.ptp(table.records.numbers[parts.train], axis=0) == 0
    assert found["constant_column"].columns == tuple(np.array(table.records.names)[blank])
    assert "1,257 training rows" in found["constant_column"].detail


def test_every_remedy_names_an_option():
    assert all("--" in remedy for remedy in REMEDIES.values())


def test_columns_that_tell_rows_apart_are_identifiers(rng, target, noise):
    texts = np.array([f"person {i}" for i in range(N)])
    repeating = np.array([f"street {i}" for i in rng.integers(0, N // 2, N)])
    found = found_in(
        table_of(
            target,
            noise=noise,
            name=np.where(rng.random(N) < 0.1, "", texts),
            street=repeating,
            row=np.arange(N) + 7,
            shuffled=rng.permutation(N),
            user_id=rng.permutation(N),
            accountID=rng.permutation(N),
            paid=rng.permutation(N),
            shop_id=rng.integers(0, 5, N),
            row_of_millions=np.arange(N) + 3e7,  # float32 tells every second apart
        )
    )
    assert list(found) == ["identifier_column"]
    named = ("name", "row", "user_id", "accountID", "row_of_millions")
    assert found["identifier_column"].columns == named
    assert "row (420 different values in 420)" in found["identifier_column"].detail


def test_columns_too_sparse_to_judge_hide_none_behind_them(rng, target, noise):
    few = np.where(np.arange(N) % 100 == 0, noise, np.nan)
    kept = np.where(np.arange(N) % 100 == 0, "a note", "")
    found = found_in(
        table_of(
            target, few=few, kept=kept, noise=noise, user_id=rng.permutation(N), row=np.arange(N)
        )
    )
    assert found["identifier_column"].columns == ("user_id", "row")
    assert found["mostly_missing_column"].columns == ("few", "kept")


def test_columns_of_one_value_in_the_training_rows_are_constant(rng, target, noise):
    parts = Split(np.arange(400), np.arange(400, 500), np.arange(500, N))
    gaps = rng.random(N) < 0.5
    found = found_in(
        table_of(
            target,
            noise=noise,
            one=np.full(N, 3.5),
            gappy=np.where(gaps, np.nan, 1.0),
            text=np.where(gaps, "", "always"),
            never=np.where(np.arange(N) == N - 1, 1.0, np.nan),
            day=np.full(N, np.datetime64("2024-02-29", "s")),
            later=np.where(np.arange(N) < 400, 1.0, noise),
            almost=np.arange(N) == 399,
        ),
        parts,
    )
    assert found["constant_column"].columns == ("one", "gappy", "text", "never", "day", "later")
    assert found["mostly_missing_column"].columns == ("never",)
    assert len(found) == 2


def test_columns_equal_value_for_value_are_duplicates(rng, target, noise):
    gaps = rng.random(N) < 0.2
    city = rng.choice(["Rome", "Oslo", "Bonn"], N)
    with_gaps = np.where(gaps, np.nan, noise)
    negative = np.where(noise < 0, -0.0, noise)
    off_by_one = with_gaps.copy()
    off_by_one[0] = 9
    parts = Split(np.arange(N - 200), np.arange(N - 200, N - 100), np.arange(N - 100, N))
    table = table_of(
        target,
        noise=noise,
        with_gaps=with_gaps,
        again=with_gaps,
        off_by_one=off_by_one,
        clipped=noise.clip(0),
        negative_zero=negative,
        city=city,
        town=np.where(gaps, "", city),
        same_town=np.where(gaps, "", city),
    )
    found = found_in(table, parts)
    assert list(found) == ["duplicate_column"]
    assert found["duplicate_column"].columns == ("again", "negative_zero", "same_town")
    assert "again equals with_gaps" in found["duplicate_column"].detail


def test_the_same_texts_in_another_order_of_words_are_duplicates(target):
    one = np.tile([0, 1, 2, -1], N // 4)
    other = np.array([2, 0, 1, -1])[one]
    third = np.array([0, 1, 2, -1])[one]
    columns = (
        Column("a", "category", ("x", "y", "z")),
        Column("b", "category", ("y", "z", "x")),
        Column("c", "category", ("p", "q", "r")),  # equal codes, other texts
    )
    codes = np.stack([one, other, third], axis=1).astype(np.int32)
    records = Records(columns, np.empty((N, 0), np.float32), codes=codes)
    made = make_table(source="x", records=records, target=target, target_names=("y",))
    assert found_in(made)["duplicate_column"].columns == ("b",)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_columns_that_alone_tell_every_class_leak(classes, rng, noise):
    target = rng.permutation(N) % classes
    shuffled = rng.permutation(20)
    hidden = shuffled[target + classes * rng.integers(0, 20 // classes, N)]
    day = np.datetime64("2024-01-01") + target * 30 + rng.integers(0, 30, N)
    found = found_in(
        table_of(
            np.array([f"class {i}" for i in target]),
            noise=noise,
            near=target + 0.3 * noise,
            copy=target + 0.05 * noise,
            downwards=np.where(rng.random(N) < 0.2, -target - 0.4, -target),
            day=day.astype("datetime64[s]"),
            code=hidden.astype(str),
            hidden=hidden,
            one_told=np.where(target == 0, "yes", "no"),
            wrong_at_times=np.where(rng.random(N) < 0.1, 0, target).astype(str),
            weak=(target + rng.integers(0, 3, N)).astype(str),
        )
    )
    assert list(found) == ["leaking_column"]
    two = ("one_told",) if classes == 2 else ()
    leaking = ("copy", "downwards", "day", "code", "hidden", *two)
    assert found["leaking_column"].columns == leaking


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("gappy", [None, 0, 1])
def test_the_area_is_that_of_scikit_learn(sign, gappy, rng, noise):
    """Gaps in some rows of one class; they may count as more or as less than all values."""
    target = rng.integers(0, 2, N)
    values = sign * (target + 0.28 * noise).round(1)
    gaps = (target == gappy) & (rng.random(N) < 0.3)
    table = table_of(target, x=np.where(gaps, np.nan, values))
    parts = split_table(table, validation=0.15, test=0.15, seed=0)
    filled = np.where(gaps, 9 * sign * (-1 if gappy == 0 else 1), values)
    area = roc_auc_score(target[parts.train], sign * filled[parts.train])
    assert area > 0.99
    assert f"x (AUC {area:.3f})" in found_in(table, parts)["leaking_column"].detail


def test_the_most_frequent_class_of_a_category_counts(rng):
    target = rng.permutation(N) % 3
    wrong = rng.permutation(N) < 4
    text = np.array(["b", "c", "a"])[np.where(wrong, rng.integers(0, 3, N), target)]
    assert "leaking_column" in found_in(table_of(target, text=text))


def test_of_too_few_rows_nothing_is_said_to_leak_or_to_be_an_identifier(rng):
    target = np.arange(60) % 2
    table = table_of(target, x=target + rng.random(60) / 9, text=[*"abcdefgh"] + [""] * 52)
    assert found_in(table) == {}


def test_texts_that_tell_rows_apart_are_not_called_many_too(rng):
    table = table_of(
        rng.integers(0, 2, 1500), x=rng.normal(size=1500), text=[f"t{i}" for i in range(1500)]
    )
    assert list(found_in(table)) == ["identifier_column"]


def test_a_gap_can_leak(rng, noise):
    target = rng.integers(0, 2, N)
    found = found_in(table_of(target, x=np.where(target == 1, noise, np.nan)))
    assert found["leaking_column"].columns == ("x",)


def test_a_majority_is_no_leak(rng, noise):
    target = (rng.random(3000) < 0.005).astype(int)
    target[:30] = 1
    unsure = np.where(rng.random(3000) < 0.5, target, 0)  # right in 99.5 % of all rows
    assert found_in(table_of(target, unsure=unsure.astype(str))).keys() <= {"duplicate_rows"}


@pytest.mark.parametrize("columns", [1, 2])
def test_columns_that_alone_tell_a_quantity_leak(columns, rng):
    known, other = rng.uniform(-1, 1, N), rng.normal(size=N)
    target = known if columns == 1 else np.stack([other, known], axis=1)
    table = table_of(
        target,
        "regression",
        cubed=-(known**3),
        gappy=np.where(rng.random(N) < 0.3, np.nan, np.exp(known)),
        gone=np.where(rng.random(N) < 0.7, np.nan, np.exp(known)),
        near=known + 0.05 * other,
        unrelated=rng.normal(size=N),
        text=known.round(1).astype(str),
        half=np.sign(known).astype(str),
    )
    parts = split_table(table, validation=0.15, test=0.15, seed=0)
    finding = found_in(table, parts)["leaking_column"]
    assert finding.columns == ("cubed", "gappy", "text")
    assert "cubed (rank correlation -1.0000 with " + "yz"[columns - 1] in finding.detail
    near = spearmanr(table.records.column("near")[parts.train], known[parts.train]).statistic
    assert 0.99 < near < 0.999


def test_what_names_a_group_leaks_only_where_groups_are_parted(rng):
    """A person tells everything, while rows of the same person are on both sides."""
    person = rng.integers(0, 40, N)
    target = (rng.permutation(40) % 2)[person]
    named = np.array([f"p{i}" for i in person])
    assert found_in(table_of(target, named=named))["leaking_column"].columns == ("named",)
    assert "leaking_column" not in found_in(table_of(target, groups=person, named=named))


def test_rows_that_are_in_training_too_are_counted(rng):
    numbers = rng.integers(0, 12, N) * 1.0
    numbers[rng.random(N) < 0.1] = np.nan
    text = rng.choice(["a", "b", "c", ""], N)
    day = np.datetime64("2024-01-01", "s") + rng.integers(0, 10, N)
    target = rng.integers(0, 3, N)
    table = table_of(target, numbers=numbers, text=text, day=day)
    parts = split_table(table, validation=0.15, test=0.15, seed=0)
    frame = pd.DataFrame({"n": numbers, "t": text, "d": day, "y": target})

    def met(rows, columns):
        known = frame.iloc[parts.train][columns].drop_duplicates()
        return len(frame.iloc[rows][columns].merge(known, how="inner"))

    features, everything = ["n", "t", "d"], ["n", "t", "d", "y"]
    test, validation = met(parts.test, features), met(parts.validation, features)
    agreeing = met(parts.test, everything) + met(parts.validation, everything)
    assert min(test, validation) > agreeing / 2 > 0
    detail = found_in(table, parts)["duplicate_rows"].detail
    assert f"{test} of 90 test rows ({test / 90:.1%}) and {validation} of 90 valid" in detail
    assert f"and {agreeing} of these {test + validation} its target too" in detail


def test_a_single_repeated_row_is_not_worth_a_word(target, noise):
    parts = Split(np.arange(400), np.arange(400, 500), np.arange(500, N))
    noise[500] = noise[0]
    assert found_in(table_of(target, noise=noise), parts) == {}
    noise[501] = noise[1]
    assert list(found_in(table_of(target, noise=noise), parts)) == ["duplicate_rows"]


def test_classes_of_few_training_rows_are_rare(noise):
    target = np.array(["common"] * (N - 20) + ["rare"] * 9 + ["less rare"] * 11)
    parts = Split(np.arange(100, N), np.arange(50), np.arange(50, 100))
    finding = found_in(table_of(target, noise=noise), parts)["rare_class"]
    assert finding.columns == ("y",)
    assert "of rare (9) there are fewer than 10 training rows" in finding.detail


def test_columns_with_hardly_a_value_are_mostly_missing(rng, target, noise):
    gaps = rng.permutation(N) < 0.98 * N
    some = rng.permutation(N) < 0.9 * N
    found = found_in(
        table_of(
            target,
            noise=noise,
            number=np.where(gaps, np.nan, rng.random(N).round(2)),
            text=np.where(gaps, "", rng.choice(["a", "b"], N)),
            day=np.where(gaps, np.datetime64("NaT"), np.datetime64(3, "s") + rng.integers(0, 9, N)),
            there=np.where(some, np.nan, noise),
        )
    )
    assert list(found) == ["mostly_missing_column"]
    assert found["mostly_missing_column"].columns == ("number", "text", "day")


def test_categories_of_over_a_thousand_texts_are_many(rng):
    n = 4000
    target, many = rng.integers(0, 2, n), rng.permutation(n)
    found = found_in(
        table_of(
            target,
            noise=rng.normal(size=n),
            fewer=np.char.add("c", (many % 1000).astype(str)),
            more=np.char.add("c", (many % 1001).astype(str)),
        )
    )
    assert list(found) == ["many_categories", "merged_column"]  # each text is in four rows
    assert found["many_categories"].detail == "more than 1,000 different texts: more (1,001)"


def test_of_many_columns_ten_are_listed_and_all_are_named(target, noise):
    found = found_in(table_of(target, noise=noise, **{f"x{i}": np.zeros(N) for i in range(13)}))
    assert len(found["constant_column"].columns) == 13
    assert found["constant_column"].detail.endswith("x9 and 3 more")


def test_of_a_large_table_a_sample_is_looked_at_and_the_sentence_says_so(rng, monkeypatch):
    n = 20_000
    target = rng.integers(0, 2, n)
    table = table_of(
        target,
        noise=rng.normal(size=n),
        copy=target + 0.1 * rng.normal(size=n),
        nearly_constant=np.arange(n) < 2,
        nearly_noise=rng.normal(size=n),
    )
    table.records.numbers[2:, 3] = table.records.numbers[2:, 0]
    parts = Split(np.arange(18_000), np.arange(18_000, 19_000), np.arange(19_000, n))
    monkeypatch.setattr(findings, "MOST_ROWS", 1000)
    found = found_in(table, parts)
    assert list(found) == ["leaking_column"]  # what sets the others apart is not in the sample
    assert "1,000 of 18,000 training rows, drawn at random" in found["leaking_column"].detail
    assert check_table(table, parts) == check_table(table, parts)


@pytest.mark.slow
def test_a_large_table_is_searched_in_memory_for_a_few_row_numbers_a_row(rng):
    n = 300_000
    records = Records.of_numbers("abcd", rng.normal(size=(n, 4)))
    target = rng.integers(0, 3, n)
    table = make_table(source="large", records=records, target=target, target_names=("y",))
    parts = split_table(table, validation=0.1, test=0.2, seed=0)
    tracemalloc.start()
    assert check_table(table, parts) == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    fixed = 60e6  # the sample, and the rows that are hashed in one go
    assert peak < 6 * 8 * n + fixed


def test_class_variants_are_named_with_their_rows(noise):
    words = np.array(["Yes", "yes", "no", "No thanks", "no  thanks"])
    target = np.resize(words, N)
    (finding,) = [
        f for f in find_named(table_of(target, noise=noise)) if f.name == "class_variants"
    ]
    assert finding.columns == ("y",)
    assert finding.detail.endswith(
        ": 'No thanks' (120) and 'no  thanks' (120), 'Yes' (120) and 'yes' (120)"
    )
    assert "class_variants" not in {f.name for f in find_named(table_of(["a", "b"] * 300, x=noise))}


def test_category_variants_are_named_with_their_training_rows(target, noise):
    town = np.resize(np.array(["Oslo", "oslo", "Bergen"]), N)
    table = table_of(target, noise=noise, town=town)
    parts = split_table(table, validation=0.15, test=0.15, seed=0)
    (finding,) = [f for f in check_table(table, parts) if f.name == "category_variants"]
    counts = {word: np.count_nonzero(town[parts.train] == word) for word in ("Oslo", "oslo")}
    assert finding.columns == ("town",)
    assert f"town ('Oslo' ({counts['Oslo']}) and 'oslo' ({counts['oslo']}))" in finding.detail


@pytest.mark.parametrize(("later", "named"), [("new", True), ("old", False)])
def test_texts_that_only_evaluation_rows_have_are_named(later, named, target, noise):
    parts = Split(np.arange(400), np.arange(400, 500), np.arange(500, N))
    shop = ["old"] * 200 + ["other"] * 250 + [later] * 150
    found = {f.name: f for f in check_table(table_of(target, noise=noise, shop=shop), parts)}
    assert ("unseen_categories" in found) == named
    if named:
        assert found["unseen_categories"].columns == ("shop",)
        assert "shop (75%, such as 'new')" in found["unseen_categories"].detail


def find_named(table):
    return check_table(table, split_table(table, validation=0.15, test=0.15, seed=0))
