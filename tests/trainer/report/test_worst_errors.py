import numpy as np
import pytest

from trainer.report.worst_errors import MAX_ERRORS, find_worst_errors, format_row


@pytest.mark.parametrize("kind", ["tumours", "digits"])
def test_find_worst_errors_classes_are_sorted_by_true_probability(train_example, kind):
    evaluated = train_example(kind).inputs.test_rows
    errors_ = find_worst_errors(evaluated)
    indices = np.searchsorted(evaluated.classes, evaluated.truth)
    p = evaluated.answers["probabilities"][np.arange(len(evaluated)), indices]
    wrong = [
        row
        for row in range(len(evaluated))
        if evaluated.answers["label"][row] != evaluated.truth[row]
    ]
    assert [c.row for c in errors_] == sorted(wrong, key=lambda row: p[row])[:MAX_ERRORS]
    for error in errors_:
        assert error.truth == str(evaluated.truth[error.row]) != error.answer
        text = error.remark.split("\N{NO-BREAK SPACE}")[0]
        if p[error.row] < 0.001:
            assert text == "< 0.1"
        else:
            assert float(text) == pytest.approx(100 * p[error.row], abs=0.06)


def test_find_worst_errors_values_are_sorted_by_error(train_example):
    evaluated = train_example("diabetes").inputs.test_rows
    errors = np.abs(evaluated.answers["value"] - evaluated.truth)[:, 0]
    assert [c.row for c in find_worst_errors(evaluated)] == np.argsort(-errors)[
        :MAX_ERRORS
    ].tolist()


def test_find_worst_errors_several_targets_are_standardized(train_example):
    evaluated = train_example("physique").inputs.test_rows
    errors = np.abs(evaluated.answers["value"] - evaluated.truth) / evaluated.truth.std(axis=0)
    assert find_worst_errors(evaluated)[0].row == errors.mean(axis=1).argmax()


@pytest.mark.slow
def test_format_row_shows_values_of_columns(train_example):
    evaluated = train_example("mixed").inputs.test_rows
    row = int(np.flatnonzero(np.isnan(evaluated.records.column("member")))[0])
    labels = dict(
        zip(
            evaluated.records.names,
            format_row(evaluated, row, list(evaluated.records.names)),
            strict=True,
        )
    )
    assert labels["member"] == "missing"
    assert (
        labels["colour"]
        == evaluated.records.of_kind("category")[0].words[evaluated.records.column("colour")[row]]
    )
    seconds = evaluated.records.column("joined")[row]
    assert labels["joined"] == str(np.datetime64(int(seconds), "s"))[:10]
