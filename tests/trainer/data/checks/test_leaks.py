import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from tests.trainer.data.checks.tables import N, check_by_name, make_columns_table
from trainer.data.splits import split_table


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_find_leaks_columns_that_predict_every_class(classes, rng, noise):
    target = rng.permutation(N) % classes
    shuffled = rng.permutation(20)
    hidden = shuffled[target + classes * rng.integers(0, 20 // classes, N)]
    day = np.datetime64("2024-01-01") + target * 30 + rng.integers(0, 30, N)
    found = check_by_name(
        make_columns_table(
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
def test_find_leaks_roc_area_equals_scikit_learn(sign, gappy, rng, noise):
    """Gaps in some rows of one class; they may count as more or as less than all values."""
    target = rng.integers(0, 2, N)
    values = sign * (target + 0.28 * noise).round(1)
    gaps = (target == gappy) & (rng.random(N) < 0.3)
    table = make_columns_table(target, x=np.where(gaps, np.nan, values))
    split = split_table(table, validation=0.15, test=0.15, seed=0)
    filled = np.where(gaps, 9 * sign * (-1 if gappy == 0 else 1), values)
    area = roc_auc_score(target[split.train], sign * filled[split.train])
    assert area > 0.99
    assert f"x (AUC {area:.3f})" in check_by_name(table, split)["leaking_column"].detail


def test_find_leaks_most_frequent_class_of_a_category_is_predicted(rng):
    target = rng.permutation(N) % 3
    wrong = rng.permutation(N) < 4
    text = np.array(["b", "c", "a"])[np.where(wrong, rng.integers(0, 3, N), target)]
    assert "leaking_column" in check_by_name(make_columns_table(target, text=text))


def test_find_leaks_too_few_rows_are_not_judged(rng):
    target = np.arange(60) % 2
    table = make_columns_table(
        target, x=target + rng.random(60) / 9, text=[*"abcdefgh"] + [""] * 52
    )
    assert check_by_name(table) == {}


def test_find_leaks_gaps_of_one_class(rng, noise):
    target = rng.integers(0, 2, N)
    found = check_by_name(make_columns_table(target, x=np.where(target == 1, noise, np.nan)))
    assert found["leaking_column"].columns == ("x",)


def test_find_leaks_majority_class_alone_is_no_leak(rng, noise):
    target = (rng.random(3000) < 0.005).astype(int)
    target[:30] = 1
    unsure = np.where(rng.random(3000) < 0.5, target, 0)  # right in 99.5 % of all rows
    assert check_by_name(make_columns_table(target, unsure=unsure.astype(str))).keys() <= {
        "duplicate_rows"
    }


@pytest.mark.parametrize("columns", [1, 2])
def test_find_leaks_columns_that_predict_a_quantity(columns, rng):
    known, other = rng.uniform(-1, 1, N), rng.normal(size=N)
    target = known if columns == 1 else np.stack([other, known], axis=1)
    table = make_columns_table(
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
    split = split_table(table, validation=0.15, test=0.15, seed=0)
    finding = check_by_name(table, split)["leaking_column"]
    assert finding.columns == ("cubed", "gappy", "text")
    assert "cubed (rank correlation -1.0000 with " + "yz"[columns - 1] in finding.detail
    near = spearmanr(table.records.column("near")[split.train], known[split.train]).statistic
    assert 0.99 < near < 0.999


def test_find_leaks_group_names_leak_only_without_groups(rng):
    """A person tells everything, while rows of the same person are on both sides."""
    person = rng.integers(0, 40, N)
    target = (rng.permutation(40) % 2)[person]
    named = np.array([f"p{i}" for i in person])
    assert check_by_name(make_columns_table(target, named=named))["leaking_column"].columns == (
        "named",
    )
    assert "leaking_column" not in check_by_name(
        make_columns_table(target, groups=person, named=named)
    )
