"""The sections on errors: the worst errors, and subgroups of the rows with the worst metrics."""

from __future__ import annotations

from trainer.report.blocks import Block, Cell, Paragraph, Section, TableBlock
from trainer.report.formatting import format_count, format_number, format_percent, shorten
from trainer.report.inputs import EvaluatedRows
from trainer.report.permutation_importance import PermutationImportances
from trainer.report.slices import MIN_ROWS, Slice, compute_interval, compute_row_scores, find_slices
from trainer.report.worst_errors import MAX_ERRORS, find_worst_errors, format_row

MAX_COLUMNS = 10  # columns shown of a row with an error
MAX_SLICES = 20


def build_errors_section(test_rows: EvaluatedRows, importances: PermutationImportances) -> Section:
    """Return a table of the worst errors with the most important columns."""
    errors = find_worst_errors(test_rows)
    if not errors:
        text = f"All {format_count(len(test_rows), 'test row')} are classified correctly."
        return Section("errors", [Paragraph(text, "good")])
    important = {c.column for c in importances.columns[:MAX_COLUMNS]}
    names = [name for name in test_rows.records.names if name in important]
    if test_rows.classes is not None:
        description, remark = "wrong predictions with the highest probability", "probability"
    else:
        description, remark = "predictions with the largest errors", "error"
        if len(test_rows.targets) > 1:
            remark = "error, in standard deviations"
    rows = [
        [error.truth, error.answer, error.remark, *format_row(test_rows, error.row, names)]
        for error in errors
    ]
    note = ""
    if len(names) < len(test_rows.records.columns):
        note = f" Only the {len(names)} most important columns are shown."
    blocks: list[Block] = [
        TableBlock(
            ["true", "predicted", remark, *(shorten(name, 24) for name in names)],
            rows,
            f"The {len(rows)} {description}, worst first. Check these rows for wrong labels and "
            f"for missing information.{note}",
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
    overall, low, high = compute_interval(test_rows, compute_row_scores(test_rows))
    slices = find_slices(test_rows)
    if not slices:
        text = (
            f"No subgroup has at least {MIN_ROWS} of the "
            f"{format_count(len(test_rows), 'test row')}; smaller ones are not evaluated."
        )
        return Section("slices", [Paragraph(text, "muted")])
    format_score = format_percent if test_rows.classes is not None else format_number
    metric = "accuracy" if test_rows.classes is not None else "mean absolute error"
    if test_rows.classes is None and len(test_rows.targets) > 1:
        metric += ", in standard deviations"
    n_worse = sum(_is_worse(test_rows, part, overall) for part in slices)
    if not n_worse:
        conclusion = "No subgroup is significantly worse than all rows together."
    else:
        conclusion = (
            f"{format_count(n_worse, 'subgroup')} {'is' if n_worse == 1 else 'are'} significantly "
            f"worse, each tested by itself; with many subgroups, about one in forty appears so by "
            f"chance."
        )
    text = (
        f"All test rows: {metric} {format_score(overall)}, 95 % interval {format_score(low)} to "
        f"{format_score(high)}. {conclusion}"
    )
    note = ""
    if len(slices) > MAX_SLICES:
        note = f" Shown are the {MAX_SLICES} worst of {len(slices)}."
    rows: list[list[str | Cell]] = []
    for part in slices[:MAX_SLICES]:
        score = format_score(part.score)
        rows.append(
            [
                shorten(part.column, 32),
                part.value,
                Cell(score, 0.2, "bad") if _is_worse(test_rows, part, overall) else score,
                f"{format_score(part.low)} to {format_score(part.high)}",
                f"{part.rows:,}",
            ]
        )
    table = TableBlock(
        ["column", "value in the subgroup", metric, "95 % interval", "rows"],
        rows,
        f"One subgroup for each category, and for each quarter of a number or date, with at least "
        f"{MIN_ROWS} test rows. Coloured: significantly worse than all rows.{note}",
        words=range(2),
    )
    return Section("slices", [Paragraph(text), table])


def _is_worse(test_rows: EvaluatedRows, part: Slice, overall: float) -> bool:
    """Return whether the whole interval of a subgroup is worse than the score of all rows."""
    return part.high < overall if test_rows.classes is not None else part.low > overall
