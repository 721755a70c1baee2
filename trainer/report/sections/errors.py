"""The sections on errors: the worst errors, and subgroups of the rows with the worst metrics."""

from __future__ import annotations

from collections.abc import Callable

from trainer.report.blocks import Block, Cell, Paragraph, Section, TableBlock
from trainer.report.formatting import (
    format_count,
    format_decimal,
    format_number,
    format_percent,
    join_words,
    shorten,
    shorten_all,
)
from trainer.report.inputs import EvaluatedRows
from trainer.report.permutation_importance import PermutationImportances
from trainer.report.slices import MIN_ROWS, Slice, compute_interval, compute_row_scores, find_slices
from trainer.report.worst_errors import MAX_ERRORS, find_worst_errors, format_row

MAX_COLUMNS = 10  # columns shown of a row with an error
MAX_SLICES = 20
MAX_NAME_LENGTH = 24  # characters of a class or column in the head of a table


def build_errors_section(test_rows: EvaluatedRows, importances: PermutationImportances) -> Section:
    """Return a table of the worst errors with the most important columns."""
    errors = find_worst_errors(test_rows)
    if not errors:
        text = f"All {format_count(len(test_rows), 'test row')} are classified correctly."
        return Section("errors", [Paragraph(text, "good")])
    important = {c.column for c in importances.columns[:MAX_COLUMNS]}
    names = [name for name in test_rows.records.names if name in important]
    if test_rows.classes is not None:
        kind = "wrong predictions"
        order = (
            "The true class had the lowest probability in these rows, which is why they are the "
            "worst."
        )
        heads = ["true class", "predicted class", "probability of the true class"]
    else:
        kind, order = "predictions with the largest errors", "The largest error comes first."
        target = join_words([shorten(name, MAX_NAME_LENGTH) for name in test_rows.targets])
        heads = [f"true {target}", f"predicted {target}", "absolute error"]
        if len(test_rows.targets) > 1:
            heads[2] = "mean error, in standard deviations"
    rows = [
        [
            shorten(error.truth, MAX_NAME_LENGTH) if test_rows.classes is not None else error.truth,
            shorten(error.answer, MAX_NAME_LENGTH)
            if test_rows.classes is not None
            else error.answer,
            error.remark,
            *format_row(test_rows, error.row, names),
        ]
        for error in errors
    ]
    note = ""
    if len(names) < len(test_rows.records.columns):
        note = f" Of the input columns, the {len(names)} most important are shown."
    blocks: list[Block] = [
        TableBlock(
            f"The {len(rows)} worst {kind}: one test row per line"
            if test_rows.classes is not None
            else f"The {len(rows)} {kind}: one test row per line",
            [*heads, *shorten_all(names, MAX_NAME_LENGTH)],
            rows,
            f"{order} Check them for wrong labels and for missing information.{note}",
            words=_list_word_columns(test_rows, names),
        )
    ]
    if test_rows.classes is not None and len(errors) < MAX_ERRORS:
        n_correct = len(test_rows) - len(errors)
        text = f"All other test rows ({n_correct:,}) are classified correctly."
        blocks.append(Paragraph(text, "muted"))
    return Section("errors", blocks)


def _list_word_columns(test_rows: EvaluatedRows, names: list[str]) -> list[int]:
    """Return the indices of the table columns that contain words."""
    categories = {column.name for column in test_rows.records.of_kind("category")}
    indices = [3 + index for index, name in enumerate(names) if name in categories]
    return indices if test_rows.classes is None else [0, 1, *indices]


def build_slices_section(test_rows: EvaluatedRows) -> Section:
    """Return a table of the subgroups, worst first, compared with all rows."""
    overall, low, high = compute_interval(compute_row_scores(test_rows))
    slices = find_slices(test_rows)
    if not slices:
        text = (
            f"No subgroup has at least {MIN_ROWS} of the "
            f"{format_count(len(test_rows), 'test row')}; smaller ones are not evaluated."
        )
        return Section("slices", [Paragraph(text, "muted")])
    is_classifier = test_rows.classes is not None
    format_score = format_decimal if is_classifier else format_number
    metric = "log loss" if is_classifier else "mean absolute error"
    if not is_classifier and len(test_rows.targets) > 1:
        metric += ", in standard deviations"
    n_worse = sum(part.low > overall for part in slices)
    if not n_worse:
        conclusion = f"No subgroup of {len(slices)} is clearly worse than all rows together."
    else:
        conclusion = (
            f"{n_worse} of {format_count(len(slices), 'subgroup')} "
            f"{'is' if n_worse == 1 else 'are'} clearly worse: the whole 95 % interval is above "
            f"that value. Each was tested by itself, and about one in forty appears so by chance."
        )
    reason = ""
    if is_classifier:
        reason = (
            " Subgroups are ordered by log loss, which is high where the true class has a low "
            "probability. Accuracy would hide a rare class, because most rows are right without it."
        )
    text = (
        f"On all test rows together, the {metric} is {format_score(overall)} (95 % interval "
        f"{format_score(low)} to {format_score(high)}); lower is better. {conclusion}{reason}"
    )
    note = ""
    if len(slices) > MAX_SLICES:
        note = f" Shown are the {MAX_SLICES} worst of {len(slices)}."
    heads = ["column", "rows with", metric, "95 % interval", "compared with all", "rows"]
    if is_classifier:
        heads.append("accuracy")
    if slices[0].positives is not None:
        positive = test_rows.class_labels[test_rows.positive_index]
        heads.append(f"found of “{shorten(str(positive), MAX_NAME_LENGTH)}”")
        note += (
            f" Found: how many of the rows that are “{shorten(str(positive))}” were predicted so."
        )
    columns = dict(
        zip(test_rows.records.names, shorten_all(list(test_rows.records.names), 32), strict=True)
    )
    rows = [
        _make_slice_row(part, columns[part.column], overall, format_score)
        for part in slices[:MAX_SLICES]
    ]
    table = TableBlock(
        "Subgroups of the test rows, worst first: one subgroup per line",
        heads,
        rows,
        f"One subgroup for each category, and for each quarter of a number or date, with at least "
        f"{MIN_ROWS} test rows.{note}",
        words=(0, 1, 4),
    )
    return Section("slices", [Paragraph(text), table])


def _make_slice_row(
    part: Slice, column: str, overall: float, format_score: Callable[[float], str]
) -> list[str | Cell]:
    """Return the table row of a subgroup.

    Args:
        part: Subgroup.
        column: Name of its column, short enough for a table.
        overall: Score of all test rows.
        format_score: Function from a score to its text.
    """
    score = format_score(part.score)
    is_worse = part.low > overall
    row = [
        column,
        part.value,
        Cell(score, 0.2, "bad") if is_worse else score,
        f"{format_score(part.low)} to {format_score(part.high)}",
        "clearly worse" if is_worse else "better" if part.high < overall else "no clear difference",
        f"{part.rows:,}",
    ]
    if part.correct is not None:
        row.append(format_percent(part.correct / part.rows))
    if part.positives is not None:
        row.append(f"{part.found:,} of {part.positives:,}")
    return row
