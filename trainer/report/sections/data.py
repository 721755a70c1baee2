"""The data: the parts, the target, and what the model takes of each column."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from serving.bundle import REFERENCE_FILE, BooleanColumn, CategoryColumn, DateColumn, InputColumn
from trainer.report.blocks import Block, FactList, Figure, FigureRow, Paragraph, Section, TableBlock
from trainer.report.formatting import format_count, join_words, format_number, format_percent, shorten
from trainer.report.inputs import EvaluatedRows, ReportInputs
from trainer.report.plots import ACCENT, INK, open_canvas, use_integer_ticks, show_grid

MOST_OPEN = 30  # columns listed without being asked
MOST_WORDS = 8  # of a category
MOST_BARS = 20
MOST_TARGETS = 6

GAPS = {"refuse": "refused", "impute": "filled in the graph"}
UNSEEN = {"refuse": "unseen words refused", "unknown": "unseen words taken for unknown"}


def build_data_section(evidence: ReportInputs) -> Section:
    """Rows, target, columns."""
    manifest = evidence.manifest
    rows = manifest.data.rows
    total = sum(rows.values())
    blocks: list[Block] = [
        FactList(
            [
                ("source", manifest.data.source),
                ("predicted", join_words(manifest.data.target)),
                ("rows", format_count(total)),
                *((f"{part} rows", f"{n:,} ({format_percent(n / total)})") for part, n in rows.items()),
                ("columns", format_count(len(manifest.inputs))),
                *_shares(evidence),
            ]
        )
    ]
    if evidence.test_rows is not None:
        blocks.append(FigureRow(_targets(evidence.test_rows)))
    else:
        blocks.append(
            Paragraph(
                "How the target is spread over the test rows is not known here: the run was not "
                "kept, or is not where it was looked for. The bundle knows the model's answers to "
                "its training rows.",
                "quiet",
            )
        )
        blocks.append(_answers(evidence))
    return Section("data", [*blocks, _columns(evidence)])


def _shares(evidence: ReportInputs) -> list[tuple[str, str]]:
    """The share of each class among the training rows, of many the commonest and the rarest."""
    manifest = evidence.manifest
    if manifest.classes is None or manifest.class_shares is None:
        return []
    found = sorted(
        zip(manifest.classes, manifest.class_shares, strict=True), key=lambda pair: -pair[1]
    )
    shown = [f"{shorten(str(c), 24)} {format_percent(share)}" for c, share in found[:MOST_WORDS]]
    more = len(found) - len(shown)
    rarest = f"{shorten(str(found[-1][0]), 24)} {format_percent(found[-1][1])}"
    text = ", ".join(shown) + (f" and {more:,} more, the rarest {rarest}" if more else "")
    return [("classes in the training rows", text)]


def _targets(judged: EvaluatedRows) -> list[Figure]:
    if judged.classes is not None:
        counts = np.array([np.count_nonzero(judged.truth == c) for c in judged.classes])
        order = np.argsort(-counts, kind="stable")[:MOST_BARS]
        names = [shorten(str(judged.classes[i]), 24) for i in order]
        with open_canvas(height=max(1.2, 0.5 + 0.26 * len(order))) as drawing:
            axes = drawing.axes_0
            axes.barh(range(len(order)), counts[order], height=0.7, color=ACCENT)
            axes.set_yticks(range(len(order)), names)
            axes.invert_yaxis()
            axes.set_xlabel("test rows")
            axes.spines["left"].set_visible(False)
            axes.tick_params(axis="y", length=0, labelcolor=INK)
            for place, n in enumerate(counts[order]):
                axes.annotate(
                    f"{n:,}",
                    (n, place),
                    (4, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=8.5,
                )
            axes.margins(x=0.14)
        rarest = counts.min() / max(counts.sum(), 1)
        more = f" The {MOST_BARS} commonest of {len(counts)}." if len(counts) > MOST_BARS else ""
        return [
            Figure(
                drawing.svg,
                f"Classes among the test rows; the rarest makes up "
                f"{format_percent(rarest)} of them.{more}",
            )
        ]
    figures = []
    for place, name in enumerate(judged.targets[:MOST_TARGETS]):
        values = judged.truth[:, place]
        with open_canvas(height=2.4) as drawing:
            axes = drawing.axes_0
            show_grid(axes)
            axes.hist(
                values, bins=min(40, max(8, int(np.sqrt(len(values))))), color=ACCENT, rwidth=0.94
            )
            axes.set(xlabel=shorten(name, 40), ylabel="test rows")
            use_integer_ticks(axes)
        low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
        figures.append(
            Figure(
                drawing.svg,
                f"{shorten(name)} in the test rows: half lie below {format_number(middle)}, nine in ten "
                f"between {format_number(low)} and {format_number(high)}.",
            )
        )
    return figures


def _answers(evidence: ReportInputs) -> FactList:
    """What the drift reference counted of the answers to the training rows."""
    outputs: dict[str, Any] = json.loads(evidence.bundle.read_file(REFERENCE_FILE))["outputs"]
    manifest = evidence.manifest
    if manifest.classes is not None:
        shares = zip(manifest.classes, outputs["label"], strict=True)
        total = max(sum(outputs["label"]), 1)
        found = sorted(shares, key=lambda pair: -pair[1])[:MOST_BARS]
        return FactList(
            [(shorten(str(c)), f"{n:,} ({format_percent(n / total)})") for c, n in found],
            "Labels given to the training rows",
        )
    return FactList(
        [
            (name, f"{format_number(h['edges'][0])} to {format_number(h['edges'][-1])}")
            for name, h in zip(manifest.data.target, outputs["value"], strict=True)
            if h["edges"]
        ],
        "Values answered to the training rows",
    )


def _columns(evidence: ReportInputs) -> TableBlock:
    inputs = evidence.manifest.inputs
    rows = [[shorten(c.name), c.type, *_described(c)] for c in inputs]
    folded = f"All {len(rows)} columns" if len(rows) > MOST_OPEN else ""
    return TableBlock(
        ["column", "kind", "range of the training rows, or categories", "a gap is"],
        rows,
        "What the model takes, in order. Values outside a range are answered all the same.",
        words=range(4),
        folded=folded,
    )


def _described(column: InputColumn) -> tuple[str, str]:
    gap = GAPS[column.missing]
    if isinstance(column, BooleanColumn):
        return "true or false", gap
    if isinstance(column, CategoryColumn):
        words = [shorten(word, 24) for word in column.categories[:MOST_WORDS]]
        more = len(column.categories) - len(words)
        shown = ", ".join(words) + (f" and {more:,} more" if more else "")
        return f"{shown}; {UNSEEN[column.unseen]}", gap
    if isinstance(column, DateColumn):
        return f"{column.minimum} to {column.maximum}", gap
    return f"{format_number(column.minimum)} to {format_number(column.maximum)}", gap
