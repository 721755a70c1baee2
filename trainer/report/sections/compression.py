"""The section on compression: all candidates, their cost and their loss of the metric."""

from __future__ import annotations

from collections.abc import Sequence

from serving.bundle import CompressionCandidate, CompressionSummary, MetricDrop
from trainer.report.blocks import (
    Block,
    Cell,
    Paragraph,
    Section,
    TableBlock,
    Tone,
)
from trainer.report.formatting import (
    capitalize,
    format_count,
    format_decimal,
    format_metric,
    format_number,
    format_size,
    join_words,
)
from trainer.report.inputs import ReportInputs
from trainer.report.sections.compression_plots import BATCH, plot_trade_offs

NBSP = "\N{NO-BREAK SPACE}"
SPARSE = "sparse"  # name of the variant with single weights set to 0
MIN_RATIO = 1.05  # smaller ratios of size or time count as equal
MAX_UNFOLDED_ROWS = 8  # rows of a table that is shown in one piece
OUTCOMES = {
    "kept": "kept",
    "refuted": "rejected on test rows",
    "holds": "within budget",
    "fails": "over budget",
}
TONES: dict[str, tuple[float, Tone]] = {
    "kept": (0.16, "good"),
    "refuted": (0.22, "bad"),
    "fails": (0.22, "bad"),
}


def build_compression_section(inputs: ReportInputs) -> Section:
    """Return the budget, the savings, plots and tables of all candidates."""
    summary = inputs.manifest.compression
    if summary is None or not summary.tried:
        text = (
            f"This model was not compressed. To make it smaller or faster, run trainer compress "
            f"models/{inputs.manifest.name}."
        )
        return Section("compression", [Paragraph(text, "muted")])
    metric = format_metric(summary.metric, inputs.manifest.positive_class)
    texts = [
        f"{_describe_budget(summary, metric)} {_describe_savings(summary)}".strip(),
        _describe_slower_variants(summary),
    ]
    blocks: list[Block] = [Paragraph(text) for text in texts if text]
    if any(candidate.name == SPARSE for candidate in summary.tried):
        text = (
            f"In {SPARSE}, single weights are set to 0 but remain in the file. This reduces the "
            f"compressed size only, not the file size and not the time."
        )
        blocks.append(Paragraph(text, "muted"))
    blocks.append(plot_trade_offs(summary, metric))
    blocks += [*_tabulate_candidates(summary, metric), *_tabulate_test_drops(summary, metric)]
    return Section("compression", blocks)


def _list_kept(summary: CompressionSummary) -> list[CompressionCandidate]:
    """Return the candidates in the bundle, without the original network."""
    return [candidate for candidate in summary.tried[1:] if candidate.kept]


def _describe_budget(summary: CompressionSummary, metric: str) -> str:
    """Return a sentence on the budget and on how many candidates were kept."""
    names = [candidate.name for candidate in _list_kept(summary)]
    kept = f"{len(names)} {'was' if len(names) == 1 else 'were'} kept"
    if names:
        kept += f" in addition to {summary.tried[0].name}: {join_words(names)}"
    return (
        f"The {metric} was allowed to drop by up to {summary.max_drop:g} on the validation rows. "
        f"Of {format_count(len(summary.tried) - 1, 'candidate')}, {kept}."
    )


def _describe_savings(summary: CompressionSummary) -> str:
    """Return a sentence on the smallest and the fastest kept variant; empty without any."""
    dense, kept = summary.tried[0], _list_kept(summary)
    if not kept:
        return ""
    smallest = min(kept, key=lambda candidate: candidate.size_bytes)
    fastest = max(kept, key=lambda candidate: _get_speedup(candidate, dense) or 0)
    size_ratio, speedup = _get_size_ratio(smallest, dense), _get_speedup(fastest, dense) or 0
    size_text = (
        f"The smallest file is that of {smallest.name}, {size_ratio:.1f} × smaller than "
        f"{dense.name}"
        if size_ratio >= MIN_RATIO
        else f"No file is smaller than that of {dense.name}"
    )
    time_text = (
        f"the fastest at batch size {BATCH} is {fastest.name}, {speedup:.1f} × faster"
        if speedup >= MIN_RATIO
        else f"none is faster at batch size {BATCH}"
    )
    return f"{size_text}; {time_text}."


def _describe_slower_variants(summary: CompressionSummary) -> str:
    """Return sentences on kept variants that are slower than the original; empty without any."""
    dense = summary.tried[0]
    by_batches: dict[tuple[str, ...], list[str]] = {}
    for candidate in _list_kept(summary):
        if batches := _list_slower_batches(candidate, dense):
            by_batches.setdefault(batches, []).append(candidate.name)
    return " ".join(
        f"At batch size {join_words([*batches])}, {join_words(names)} "
        f"{'is' if len(names) == 1 else 'are'} slower than {dense.name}."
        for batches, names in by_batches.items()
    )


def _get_size_ratio(candidate: CompressionCandidate, dense: CompressionCandidate) -> float:
    """Return how many times smaller the file of a candidate is."""
    return dense.size_bytes / candidate.size_bytes


def _get_speedup(candidate: CompressionCandidate, dense: CompressionCandidate) -> float | None:
    """Return how many times faster a candidate is at `BATCH`; None if it was not timed."""
    before, after = dense.latency_us.get(BATCH), candidate.latency_us.get(BATCH)
    return before / after if before and after else None


def _list_slower_batches(
    candidate: CompressionCandidate, dense: CompressionCandidate
) -> tuple[str, ...]:
    """Return the batch sizes at which a candidate is slower than the original."""
    return tuple(
        batch
        for batch, before in dense.latency_us.items()
        if candidate.latency_us.get(batch, 0) >= MIN_RATIO * before
    )


def _tabulate_candidates(summary: CompressionSummary, metric: str) -> list[TableBlock]:
    """Return one table of all candidates, or two if there are many: kept ones and others."""
    dense, *candidates = summary.tried
    batches = list(dense.latency_us)
    head = [
        "variant",
        "bits",
        "layers",
        "weights",
        "size",
        f"×{NBSP}smaller",
        "gzip",
        *(f"µs at{NBSP}{batch}" for batch in batches),
        f"×{NBSP}faster at{NBSP}{BATCH}",
        metric,
        "drop",
        "outcome",
    ]
    words = (0, 2, len(head) - 1)

    def make_rows(candidates: Sequence[CompressionCandidate]) -> list[list[str | Cell]]:
        return [_make_row(candidate, summary, batches) for candidate in candidates]

    caption = (
        f"Layers: number of inputs, then units of the hidden layers. µs: median time of one run, "
        f"by batch size. {capitalize(metric)}: on the validation rows. Drop: how much lower it is "
        f"than that of {dense.name}, with its standard error (±); above 0 is a loss."
    )
    outcomes = (
        f"Over budget: drop plus standard error is more than {summary.max_drop:g}. Within budget: "
        f"it is not, but a smaller variant of the same name was kept, or nothing is saved. "
        f"Rejected on test rows: the drop on the test rows is too large. A variant that is listed "
        f"twice was first only rounded, then trained with rounding (quantization-aware training)."
    )
    if len(summary.tried) <= MAX_UNFOLDED_ROWS:
        title = "All candidates and the original network: one candidate per line"
        return [TableBlock(title, head, make_rows(summary.tried), f"{caption} {outcomes}", words)]
    kept = [candidate for candidate in candidates if candidate.kept]
    others = [candidate for candidate in candidates if not candidate.kept]
    kept.sort(key=lambda candidate: -candidate.size_bytes)
    return [
        TableBlock(
            "The original network and the candidates that were kept: one per line",
            head,
            make_rows([dense, *kept]),
            caption,
            words,
        ),
        TableBlock(
            "Candidates that were not kept: one per line",
            head,
            make_rows(others),
            f"In the order in which they were tried. {outcomes}",
            words,
            folded=f"{len(others)} other candidates",
        ),
    ]


def _make_row(
    candidate: CompressionCandidate, summary: CompressionSummary, batches: list[str]
) -> list[str | Cell]:
    """Return the table row of a candidate, coloured by its outcome."""
    dense = summary.tried[0]
    speedup = _get_speedup(candidate, dense)
    outcome = summary.classify(candidate)
    cells = [
        candidate.name,
        str(candidate.bits),
        "-".join(map(str, (candidate.inputs, *candidate.hidden))),
        format_count(candidate.parameters),
        format_size(candidate.size_bytes),
        f"{_get_size_ratio(candidate, dense):.1f}",
        format_size(candidate.zipped_bytes),
        *(format_number(candidate.latency_us.get(batch), 3) for batch in batches),
        "–" if speedup is None else f"{speedup:.1f}",
        format_decimal(candidate.validation),
        f"{format_decimal(candidate.drop)}{NBSP}±{NBSP}{format_decimal(candidate.error)}",
        OUTCOMES[outcome],
    ]
    if candidate is dense or outcome not in TONES:
        return [*cells]
    # A kept candidate is coloured as a whole row; of others only drop and outcome are.
    n_plain = 0 if outcome == "kept" else len(cells) - 2
    return [*cells[:n_plain], *(Cell(text, *TONES[outcome]) for text in cells[n_plain:])]


def _tabulate_test_drops(summary: CompressionSummary, metric: str) -> list[TableBlock]:
    """Return the drops on the test rows; nothing if none was measured."""
    rows: list[list[str | Cell]] = []
    for candidate in summary.tried:
        if candidate.tested is None:
            continue
        drop, (low, high) = candidate.tested.drop, candidate.tested.interval
        outcome = summary.classify(candidate)
        rows.append(
            [
                candidate.name,
                format_size(candidate.size_bytes),
                format_decimal(drop),
                f"{format_decimal(low)} to {format_decimal(high)}",
                _describe_certainty(candidate.tested, summary.max_drop),
                Cell(OUTCOMES[outcome], *TONES[outcome]),
            ]
        )
    if not rows:
        return []
    head = [
        "variant",
        "size",
        "drop",
        "95 % interval",
        f"drop is at most {summary.max_drop:g}",
        "outcome",
    ]
    caption = (
        f"Drop: how much lower the metric is than that of {summary.tried[0].name}. The test "
        f"rows were used once, after the variants were chosen. Intervals: paired bootstrap. A "
        f"variant whose whole interval is above the allowed drop is rejected."
    )
    title = f"Drop of the {metric} on the test rows: one variant per line"
    return [TableBlock(title, head, rows, caption, words=(0, 4, 5), narrow=True)]


def _describe_certainty(tested: MetricDrop, max_drop: float) -> Cell:
    """Return whether the drop is within the budget, by its interval."""
    low, high = tested.interval
    if high <= max_drop:
        return Cell("yes", *TONES["kept"])
    return Cell("no", *TONES["fails"]) if low > max_drop else Cell("uncertain")
