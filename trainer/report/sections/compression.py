"""Compression: what was tried to make the model smaller and faster, and what it cost."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from serving.bundle import CompressionCandidate, CompressionSummary, MetricDrop
from trainer.report.blocks import Block, Cell, Figure, FigureRow, Paragraph, Section, TableBlock, Tone
from trainer.report.formatting import format_count, format_decimal, join_words, format_metric, format_number, format_size
from trainer.report.inputs import ReportInputs
from trainer.report.plots import (
    ACCENT,
    PALETTE,
    MUTED,
    PAPER,
    SECONDARY,
    open_canvas,
    show_grid,
    label_points,
    set_log_scale,
)

JOINED = "\N{NO-BREAK SPACE}"
SPARSE = "sparse"  # the variant of that name
BATCH = "64"  # rows of a run, by which variants are called faster
SAME = 1.05  # what differs by a smaller factor is not told apart
FEW = 8  # rows of a table that need not be folded
SEEN = 4  # budgets of drop that are drawn; what lost more lies at the edge
LEAST_BUDGET = 0.002  # where nothing may be lost
COLOURS = {32: ACCENT, 8: SECONDARY, 7: SECONDARY, 4: PALETTE[2]}  # by the bits of a weight
TONES: dict[str, tuple[float, Tone]] = {
    "kept": (0.16, "good"),
    "refuted": (0.22, "bad"),
    "fails": (0.22, "bad"),
}


def build_compression_section(evidence: ReportInputs) -> Section:
    """What was allowed, what was kept, and all that was tried."""
    found = evidence.manifest.compression
    if found is None or not found.tried:
        said = (
            f"Nothing was tried to make it smaller or faster; for that there is trainer compress "
            f"models/{evidence.manifest.name}."
        )
        return Section("compression", [Paragraph(said, "quiet")])
    metric = format_metric(found.metric, evidence.manifest.positive_class)
    told = [f"{_allowed(found, metric)} {_savings(found)}".strip(), _slowness(found)]
    blocks: list[Block] = [Paragraph(text) for text in told if text]
    if any(candidate.name == SPARSE for candidate in found.tried):
        blocks.append(
            Paragraph(
                f"Of {SPARSE}, single weights are set to 0 and stay in the file: zeros save "
                f"compressed size only, neither the file's own size nor time.",
                "quiet",
            )
        )
    blocks.append(_figures(found, metric))
    tables = [*_frontier(found, metric), *_confirmations(found, metric)]
    return Section("compression", [*blocks, *tables])


def _kept(found: CompressionSummary) -> list[CompressionCandidate]:
    """Beside the dense one."""
    return [candidate for candidate in found.tried[1:] if candidate.kept]


def _allowed(found: CompressionSummary, metric: str) -> str:
    kept = [candidate.name for candidate in _kept(found)]
    dense = found.tried[0].name
    left = f"kept beside {dense}: {join_words(kept)}" if kept else "kept"
    return (
        f"Its {metric} was allowed to drop by up to {found.max_drop:g} on the "
        f"validation rows; of {format_count(len(found.tried) - 1, 'trial')}, {len(kept)} "
        f"{'was' if len(kept) == 1 else 'were'} {left}."
    )


def _savings(found: CompressionSummary) -> str:
    """What the kept ones save in size and in time."""
    dense, kept = found.tried[0], _kept(found)
    if not kept:
        return ""
    smallest = min(kept, key=lambda candidate: candidate.size_bytes)
    fastest = max(kept, key=lambda candidate: _faster(candidate, dense) or 0)
    smaller, faster = _smaller(smallest, dense), _faster(fastest, dense) or 0
    size_said = (
        f"The smallest file is that of {smallest.name}, {smaller:.1f} × smaller than {dense.name}'s"
        if smaller >= SAME
        else f"No file is smaller than {dense.name}'s"
    )
    time_said = (
        f"the fastest at batch {BATCH} is {fastest.name}, {faster:.1f} × faster"
        if faster >= SAME
        else f"none is faster at batch {BATCH}"
    )
    return f"{size_said}; {time_said}."


def _slowness(found: CompressionSummary) -> str:
    """Where the kept ones cost time."""
    dense = found.tried[0]
    by_batches: dict[tuple[str, ...], list[str]] = {}
    for candidate in _kept(found):
        if slow := _slower(candidate, dense):
            by_batches.setdefault(slow, []).append(candidate.name)
    return " ".join(
        f"At batch {join_words([*batches])}, {join_words(names)} did not pay: slower than {dense.name}."
        for batches, names in by_batches.items()
    )


def _smaller(candidate: CompressionCandidate, dense: CompressionCandidate) -> float:
    return dense.size_bytes / candidate.size_bytes


def _faster(candidate: CompressionCandidate, dense: CompressionCandidate) -> float | None:
    """At batch `BATCH`; None where it was not timed."""
    before, after = dense.latency_us.get(BATCH), candidate.latency_us.get(BATCH)
    return before / after if before and after else None


def _slower(candidate: CompressionCandidate, dense: CompressionCandidate) -> tuple[str, ...]:
    """The batches of which it is slower."""
    return tuple(
        batch
        for batch, before in dense.latency_us.items()
        if candidate.latency_us.get(batch, 0) >= SAME * before
    )


def _frontier(found: CompressionSummary, metric: str) -> list[TableBlock]:
    """The dense variant and the kept ones; the others below, folded where they are many."""
    dense, *tried = found.tried
    batches = list(dense.latency_us)
    head = [
        "variant",
        "bits",
        "layers",
        "weights",
        "size",
        f"×{JOINED}smaller",
        "gzip",
        *(f"µs at{JOINED}{batch}" for batch in batches),
        f"×{JOINED}faster at{JOINED}{BATCH}",
        metric,
        "drop",
        "verdict",
    ]
    words = (0, 2, len(head) - 1)

    def rows(candidates: Sequence[CompressionCandidate]) -> list[list[str | Cell]]:
        return [_row(candidate, found, batches) for candidate in candidates]

    caption = (
        f"Layers: inputs that are looked at, then hidden units. µs: median of one run, by rows in "
        f"the batch. {metric[:1].upper()}{metric[1:]} is of the validation rows, drop how much "
        f"lower than {dense.name}'s, above 0 if something was lost."
    )
    verdicts = (
        "holds: within the budget even if it lost a standard error (±) more, but a smaller one of "
        "its name was kept, or it saves nothing. fails: it does not. refuted: by the test rows. "
        "The same twice: first rounded, then trained with its rounding."
    )
    if len(found.tried) <= FEW:
        return [TableBlock(head, rows(found.tried), f"{caption} {verdicts}", words)]
    kept = [candidate for candidate in tried if candidate.kept]
    others = [candidate for candidate in tried if not candidate.kept]
    kept.sort(key=lambda candidate: -candidate.size_bytes)
    return [
        TableBlock(head, rows([dense, *kept]), caption, words),
        TableBlock(
            head,
            rows(others),
            f"In the order of the trials. {verdicts}",
            words,
            folded=f"{len(others)} more that were tried",
        ),
    ]


def _row(
    candidate: CompressionCandidate, found: CompressionSummary, batches: list[str]
) -> list[str | Cell]:
    dense = found.tried[0]
    cells = [
        candidate.name,
        str(candidate.bits),
        "-".join(map(str, (candidate.inputs, *candidate.hidden))),
        format_count(candidate.parameters),
        format_size(candidate.size_bytes),
        f"{_smaller(candidate, dense):.1f}",
        format_size(candidate.zipped_bytes),
        *(format_number(candidate.latency_us.get(batch), 3) for batch in batches),
        "–" if (faster := _faster(candidate, dense)) is None else f"{faster:.1f}",
        format_decimal(candidate.validation),
        f"{format_decimal(candidate.drop)}{JOINED}±{JOINED}{format_decimal(candidate.error)}",
        verdict := found.classify(candidate),
    ]
    if candidate is dense or verdict not in TONES:
        return [*cells]
    marked = range(len(cells)) if verdict == "kept" else (len(cells) - 2, len(cells) - 1)
    return [
        Cell(cell, *TONES[verdict]) if place in marked else cell for place, cell in enumerate(cells)
    ]


def _confirmations(found: CompressionSummary, metric: str) -> list[TableBlock]:
    rows: list[list[str | Cell]] = [
        [
            candidate.name,
            format_size(candidate.size_bytes),
            format_decimal(tested.drop),
            f"{format_decimal(tested.interval[0])} to {format_decimal(tested.interval[1])}",
            _confirmation(tested, found.max_drop),
            Cell(found.classify(candidate), *TONES[found.classify(candidate)]),
        ]
        for candidate in found.tried
        if (tested := candidate.tested) is not None
    ]
    if not rows:
        return []
    return [
        TableBlock(
            [
                "variant",
                "size",
                "drop",
                "95 % interval",
                f"no more than {found.max_drop:g}",
                "verdict",
            ],
            rows,
            f"How much lower than {found.tried[0].name}'s the {metric} is on the "
            f"test rows, which were asked once, after the choice. Intervals: of rows drawn in "
            f"pairs. What surely loses more than was allowed is refuted.",
            words=(0, 4, 5),
            narrow=True,
        )
    ]


def _confirmation(tested: MetricDrop, allowed: float) -> Cell:
    low, high = tested.interval
    if high <= allowed:
        return Cell("surely", *TONES["kept"])
    return Cell("surely not", *TONES["fails"]) if low > allowed else Cell("perhaps")


def _figures(found: CompressionSummary, metric: str) -> FigureRow:
    sizes = [candidate.size_bytes / 1000 for candidate in found.tried]
    times = [candidate.latency_us.get(BATCH, 0) for candidate in found.tried]
    figures = [
        _against(
            found,
            metric,
            sizes,
            "file, kB",
            "What each trial loses, against its file: the lower and the further left, "
            "the better. Full points are kept; a triangle at the edge loses more than "
            "is drawn.",
        )
    ]
    if min(times) > 0:
        figures.append(
            _against(
                found,
                metric,
                times,
                f"µs, batch {BATCH}",
                "The same against the median time of one run.",
            )
        )
    return FigureRow(figures)


def _against(
    found: CompressionSummary, metric: str, costs: list[float], name: str, caption: str
) -> Figure:
    """The drops upwards, the costs to the right in powers."""
    drops = [candidate.drop for candidate in found.tried]
    top = max(found.max_drop, min(max(drops), SEEN * (found.max_drop or LEAST_BUDGET)))
    with open_canvas(height=3.6) as drawing:
        axes = drawing.axes_0
        show_grid(axes)
        set_log_scale(axes, across=True)
        for candidate, cost in zip(found.tried, costs, strict=True):
            colour = COLOURS[candidate.bits]
            axes.plot(
                [cost],
                [min(candidate.drop, top)],
                "^" if candidate.drop > top else "o",
                color=colour,
                markerfacecolor=colour if candidate.kept else PAPER,
                markersize=7 if candidate.kept else 5,
                markeredgewidth=1.2,
                zorder=3 if candidate.kept else 2,
            )
        axes.axhline(found.max_drop, color=MUTED, linewidth=1.2, linestyle=(0, (3, 3)))
        axes.set(xlabel=name, ylabel=f"{metric}: drop")
        axes.margins(x=0.12, y=0.16)
        axes.annotate(
            f"allowed: {found.max_drop:g}",
            (1, found.max_drop),
            (-2, 3),
            xycoords=axes.get_yaxis_transform(),
            textcoords="offset points",
            ha="right",
            color=MUTED,
            fontsize=8.5,
        )
        label_points(
            axes,
            [(c.name, cost, c.drop) for c, cost in zip(found.tried, costs, strict=True) if c.kept],
        )
        _legend(axes, found)
    return Figure(drawing.svg, caption)


def _legend(axes: Axes, found: CompressionSummary) -> None:
    bits = sorted({candidate.bits for candidate in found.tried}, reverse=True)
    points = [Line2D([], [], marker="o", linestyle="", color=COLOURS[b]) for b in bits]
    axes.figure.legend(
        points,
        [f"{b} bits" for b in bits],
        loc="outside upper right",
        ncols=len(bits),
        handletextpad=0.1,
        columnspacing=1.2,
    )
