"""The section on the data: number of rows, distribution of the target, and input columns."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from serving.bundle import REFERENCE_FILE, BooleanColumn, CategoryColumn, DateColumn, InputColumn
from trainer.report.blocks import Block, FactList, Figure, FigureRow, Paragraph, Section, TableBlock
from trainer.report.formatting import (
    format_count,
    format_number,
    format_percent,
    join_words,
    shorten,
    shorten_all,
)
from trainer.report.inputs import EvaluatedRows, ReportInputs
from trainer.report.plots import ACCENT, INK, LABEL_SIZE, open_canvas, show_grid, use_integer_ticks

MAX_UNFOLDED_COLUMNS = 30  # longer tables of columns are folded
MAX_WORDS = 8  # categories listed of a column, and classes listed of the target
MAX_BARS = 20
MAX_TARGETS = 6

GAPS = {"refuse": "refused", "impute": "filled in by the model"}
SPLITS = {"train": "training"}  # names of splits that differ from those of the manifest
UNSEEN = {"refuse": "other values refused", "unknown": "other values treated as unknown"}


def build_data_section(inputs: ReportInputs) -> Section:
    """Return the number of rows, the distribution of the target and a table of the columns."""
    data = inputs.manifest.data
    total = sum(data.rows.values())
    facts = [
        ("source", data.source),
        ("target", join_words(data.target)),
        ("rows", format_count(total)),
        *(
            (f"{SPLITS.get(split, split)} rows", f"{n:,} ({format_percent(n / total)})")
            for split, n in data.rows.items()
        ),
        ("input columns", format_count(len(inputs.manifest.inputs))),
        *_list_class_shares(inputs),
    ]
    blocks: list[Block] = [FactList(facts)]
    if inputs.test_rows is None:
        text = (
            "The distribution of the target in the test rows is not known, because the run folder "
            "was not found. The bundle contains the distribution of the answers to the training "
            "rows instead."
        )
        blocks += [Paragraph(text, "muted"), _list_training_answers(inputs)]
    elif inputs.test_rows.classes is not None:
        blocks.append(FigureRow([_plot_classes(inputs.test_rows)]))
    else:
        blocks.append(FigureRow(_plot_targets(inputs.test_rows)))
    return Section("data", [*blocks, _tabulate_columns(inputs)])


def _list_class_shares(inputs: ReportInputs) -> list[tuple[str, str]]:
    """Return the class shares of the training rows as a fact; nothing for a regression."""
    manifest = inputs.manifest
    if manifest.classes is None or manifest.class_shares is None:
        return []
    shares = sorted(
        zip(manifest.classes, manifest.class_shares, strict=True), key=lambda pair: -pair[1]
    )
    items = [f"“{shorten(str(name), 24)}”: {format_percent(share)}" for name, share in shares]
    text = ", ".join(items[:MAX_WORDS])
    if len(items) > MAX_WORDS:
        text += f" and {len(items) - MAX_WORDS:,} more, the rarest {items[-1]}"
    return [("classes in the training rows", text)]


def _plot_classes(test_rows: EvaluatedRows) -> Figure:
    """Plot the number of test rows of each class, most frequent first."""
    classes = test_rows.class_labels
    counts = np.array([np.count_nonzero(test_rows.truth == c) for c in classes])
    order = np.argsort(-counts, kind="stable")[:MAX_BARS]
    names = shorten_all([str(classes[i]) for i in order], 24)
    with open_canvas(height=max(1.2, 0.5 + 0.26 * len(order))) as canvas:
        axes = canvas.main_axes
        axes.barh(range(len(order)), counts[order], height=0.7, color=ACCENT)
        axes.set_yticks(range(len(order)), names)
        axes.invert_yaxis()
        axes.set_xlabel("number of test rows")
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        for y, n in enumerate(counts[order]):
            axes.annotate(
                f"{n:,}",
                (n, y),
                (4, 0),
                textcoords="offset points",
                va="center",
                fontsize=LABEL_SIZE,
            )
        axes.margins(x=0.14)
    rarest = counts.min() / max(counts.sum(), 1)
    caption = (
        f"The number of test rows of each class. The rarest class has a share of "
        f"{format_percent(rarest)}."
    )
    if len(counts) > MAX_BARS:
        caption += f" Shown are the {MAX_BARS} most frequent of {len(counts)} classes."
    return Figure("Classes in the test rows", canvas.svg, caption)


def _plot_targets(test_rows: EvaluatedRows) -> list[Figure]:
    """Plot a histogram of each target of a regression."""
    figures = []
    for index, name in enumerate(test_rows.targets[:MAX_TARGETS]):
        values = test_rows.truth[:, index]
        n_bins = min(40, max(8, int(np.sqrt(len(values)))))
        with open_canvas(height=2.4) as canvas:
            axes = canvas.main_axes
            show_grid(axes)
            axes.hist(values, bins=n_bins, color=ACCENT, rwidth=0.9)
            axes.set(xlabel=shorten(name, 40), ylabel="number of test rows")
            use_integer_ticks(axes)
        low, median, high = np.quantile(values, [0.05, 0.5, 0.95])
        caption = (
            f"The height of a bar is the number of test rows in its range. The median is "
            f"{format_number(median)}, and 90 % of the values are between {format_number(low)} and "
            f"{format_number(high)}."
        )
        title = f"Distribution of {shorten(name)} in the test rows"
        figures.append(Figure(title, canvas.svg, caption))
    return figures


def _list_training_answers(inputs: ReportInputs) -> FactList:
    """Return the answers to the training rows, from the drift reference of the bundle."""
    outputs: dict[str, Any] = json.loads(inputs.bundle.read_file(REFERENCE_FILE))["outputs"]
    manifest = inputs.manifest
    if manifest.classes is not None:
        counts = zip(manifest.classes, outputs["label"], strict=True)
        total = max(sum(outputs["label"]), 1)
        largest = sorted(counts, key=lambda pair: -pair[1])[:MAX_BARS]
        items = [(shorten(str(c)), f"{n:,} ({format_percent(n / total)})") for c, n in largest]
        return FactList(items, "Predicted classes of the training rows")
    return FactList(
        [
            (name, f"{format_number(h['edges'][0])} to {format_number(h['edges'][-1])}")
            for name, h in zip(manifest.data.target, outputs["value"], strict=True)
            if h["edges"]
        ],
        "Range of the predicted values of the training rows",
    )


def _tabulate_columns(inputs: ReportInputs) -> TableBlock:
    """Return the type, the range and the handling of gaps of each input column."""
    columns = inputs.manifest.inputs
    names = shorten_all([c.name for c in columns])
    rows = [
        [name, c.type, _describe_values(c), GAPS[c.missing]]
        for name, c in zip(names, columns, strict=True)
    ]
    return TableBlock(
        "Input columns of the model, in their order: one column per line",
        ["column", "type", "range in the training rows, or categories", "missing values"],
        rows,
        "Values outside of the range are accepted. “Refused” means that a request with such a "
        "value is answered with an error.",
        words=range(4),
        folded=f"All {len(rows)} columns" if len(rows) > MAX_UNFOLDED_COLUMNS else "",
    )


def _describe_values(column: InputColumn) -> str:
    """Return the range or the categories of a column as text."""
    if isinstance(column, BooleanColumn):
        return "true or false"
    if isinstance(column, CategoryColumn):
        text = ", ".join(shorten(word, 24) for word in column.categories[:MAX_WORDS])
        if len(column.categories) > MAX_WORDS:
            text += f" and {len(column.categories) - MAX_WORDS:,} more"
        return f"{text}; {UNSEEN[column.unseen]}"
    if isinstance(column, DateColumn):
        return f"{column.minimum} to {column.maximum}"
    return f"{format_number(column.minimum)} to {format_number(column.maximum)}"
