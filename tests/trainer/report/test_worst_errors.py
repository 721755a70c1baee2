import numpy as np
import pytest

from trainer.report.worst_errors import MAX_ERRORS, find_worst_errors, format_row


@pytest.mark.parametrize("kind", ["tumours", "digits"])
def test_of_classes_they_are_the_wrong_ones_it_was_surest_of(made, kind):
    judged = made(kind).evidence.test_rows
    cases = find_worst_errors(judged)
    p = judged.answers["probabilities"].max(axis=1)
    wrong = [row for row in range(len(judged)) if judged.answers["label"][row] != judged.truth[row]]
    assert [c.row for c in cases] == sorted(wrong, key=lambda row: -p[row])[:MAX_ERRORS]
    for case in cases:
        assert case.truth == str(judged.truth[case.row]) != case.answer
        assert float(case.remark.split("\N{NO-BREAK SPACE}")[0]) == pytest.approx(
            100 * p[case.row], abs=0.06
        )


def test_of_values_they_are_the_largest_errors(made):
    judged = made("diabetes").evidence.test_rows
    errors = np.abs(judged.answers["value"] - judged.truth)[:, 0]
    assert [c.row for c in find_worst_errors(judged)] == np.argsort(-errors)[:MAX_ERRORS].tolist()


def test_of_several_targets_no_unit_counts_more_than_another(made):
    judged = made("physique").evidence.test_rows
    errors = np.abs(judged.answers["value"] - judged.truth) / judged.truth.std(axis=0)
    assert find_worst_errors(judged)[0].row == errors.mean(axis=1).argmax()


@pytest.mark.slow
def test_a_case_shows_what_its_columns_hold(made):
    judged = made("mixed").evidence.test_rows
    row = int(np.flatnonzero(np.isnan(judged.records.column("member")))[0])
    shown = dict(
        zip(judged.records.names, format_row(judged, row, list(judged.records.names)), strict=True)
    )
    assert shown["member"] == "missing"
    assert (
        shown["colour"]
        == judged.records.of_kind("category")[0].words[judged.records.column("colour")[row]]
    )
    seconds = judged.records.column("joined")[row]
    assert shown["joined"] == str(np.datetime64(int(seconds), "s"))[:10]
