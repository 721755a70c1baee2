"""What is said of the data before training."""

import numpy as np
import pytest

from trainer.cli.announce import announce
from trainer.data.files.read import read_file
from trainer.data.reading import Reading
from trainer.data.splits import split


@pytest.fixture
def announced(tmp_path, capsys):
    def run(text, **reading):
        path = tmp_path / "data.csv"
        path.write_text(text)
        table = read_file(path, Reading(**reading))
        announce(table, split(table, validation=0.1, test=0.2, seed=0))
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
