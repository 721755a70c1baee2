"""What is said of the data before training."""

import numpy as np
import pytest

from trainer.cli.data_summary import print_data_summary
from trainer.data.files.read_file import read_file
from trainer.data.read_options import ReadOptions
from trainer.data.splits import split_table


@pytest.fixture
def announced(tmp_path, capsys):
    def run(text, **reading):
        path = tmp_path / "data.csv"
        path.write_text(text)
        table = read_file(path, ReadOptions(**reading))
        print_data_summary(table, split_table(table, validation=0.1, test=0.2, seed=0))
        return capsys.readouterr().err

    return run


def rows(target, *, columns=1):
    """A CSV text of random numbers and the target."""
    numbers = np.random.default_rng(0).normal(size=(len(target), columns))
    head = ",".join([*(f"x{i}" for i in range(columns)), "y"])
    lines = [",".join([*map(str, row), str(y)]) for row, y in zip(numbers, target, strict=True)]
    return "\n".join([head, *lines, ""])


def line_of(text, name):
    return next(line for line in text.splitlines() if line.split()[:1] == [name])


@pytest.mark.parametrize("words", [("0", "1"), ("no", "yes"), ("false", "true"), ("3", "4")])
def test_announce_classes_lists_them_with_their_shares(announced, words):
    told = line_of(announced(rows([words[0]] * 90 + [words[1]] * 10)), "y")
    assert "classes (target)" in told
    assert told.split()[-4:] == [words[0], "90.0%,", words[1], "10.0%"]


def test_announce_numbers_said_to_be_classes_lists_them_as_classes(announced):
    told = line_of(announced(rows([1.0, 2.0, 3.0] * 20), task="classification"), "y")
    assert "classes (target)" in told
    assert " to " not in told


def test_announce_regression_target_stays_a_number(announced):
    told = line_of(announced(rows(np.linspace(0, 1, 60))), "y")
    assert "number (target)" in told
    assert told.endswith("0 to 1 ") or told.rstrip().endswith("0 to 1")


def test_announce_many_classes_names_the_commonest_four(announced):
    told = line_of(
        announced(rows(["a"] * 40 + ["b"] * 30 + ["c"] * 10 + ["d"] * 10 + ["e"] * 10)), "y"
    )
    assert told.rstrip().endswith("a 40.0%, b 30.0%, c 10.0%, d 10.0% …")


def test_announce_target_after_many_columns_is_still_listed(announced):
    told = announced(rows([0, 1] * 30, columns=60))
    assert "classes (target)" in line_of(told, "y")
    assert "… and 20 more" in told


def test_announce_name_in_square_brackets_is_no_markup(announced):
    told = announced(rows([0, 1] * 30).replace("x0", "[red]x"))
    assert "[red]x" in told


def named(text):
    """Names of the findings in the warnings."""
    return {line.split(":")[1].strip() for line in text.splitlines() if line.startswith("warning:")}


def table_of(name, values):
    """A CSV text of a random number, a column of values and two classes."""
    numbers = np.random.default_rng(0).normal(size=len(values))
    pairs = enumerate(zip(numbers, values, strict=True))
    lines = [f"{x},{value},{'ab'[i % 2]}" for i, (x, value) in pairs]
    return "\n".join([f"x,{name},y", *lines, ""])


ZIPS = ["01067", "01234", "10115", "80331"] * 25


def test_announce_codes_with_leading_zeros_read_as_numbers_proposes_category(announced):
    told = announced(table_of("zip", ZIPS))
    assert "leading_zeros: codes with leading zeros that are read as numbers: zip" in told
    assert "'01067'" in told
    assert "--category" in told


@pytest.mark.parametrize("reading", [{"number": ("zip",)}, {"category": ("zip",)}])
def test_announce_codes_of_a_said_kind_are_not_warned_of(announced, reading):
    assert "leading_zeros" not in named(announced(table_of("zip", ZIPS), **reading))


@pytest.mark.parametrize("values", [["0.25", "0", "10", "0012.5"], ["01", "02", "11", "12"]])
def test_announce_fractions_and_months_are_no_codes(announced, values):
    assert "leading_zeros" not in named(announced(table_of("v", values * 25)))


def test_announce_codes_with_leading_zeros_beyond_the_counted_texts_are_found(announced):
    values = [*(str(n) for n in range(10_000, 12_000)), "01234"]
    assert "leading_zeros" in named(announced(table_of("zip", values)))


MILLISECONDS = [str(1_700_000_000_000 + 86_400_123 * (n % 90)) for n in range(100)]


@pytest.mark.parametrize("kind", ["number", "precise"])
def test_announce_numbers_said_to_be_numbers_are_not_proposed_as_dates(announced, kind):
    text = table_of("at", MILLISECONDS)
    assert "number_like_date" in named(announced(text))
    assert "number_like_date" not in named(announced(text, **{kind: ("at",)}))


def test_announce_dates_in_milliseconds_are_shown_to_the_second(announced):
    told = " ".join(announced(table_of("at", MILLISECONDS), date=("at",)).split())
    assert "2023-11-14T22:13:20+00:00 to" in told
    assert "in milliseconds since 1970" in told


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ([f"1.{n:03},{n % 100:02}" for n in range(100)], "numbers_as_text"),
        ([f"{n % 12 + 1:02}/{n // 12 + 1:02}/2024" for n in range(50)] * 2, "dates_as_text"),
    ],
    ids=["decimal commas", "ambiguous dates"],
)
def test_announce_texts_meant_for_numbers_or_dates_are_warned_of_once(announced, values, name):
    quoted = [f'"{value}"' for value in values]
    assert named(announced(table_of("v", quoted))) == {name}
