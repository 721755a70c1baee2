"""The graph: whether it answers as the network does, and what its variants cost."""

from __future__ import annotations

from serving.bundle import Variant
from serving.runtime import SelfTestResult
from trainer.report.blocks import Block, FactList, Paragraph, Section, TableBlock
from trainer.report.formatting import format_count, format_decimal, join_words, format_metric, format_number, format_percent, format_size
from trainer.report.inputs import ReportInputs


def build_parity_section(evidence: ReportInputs) -> Section:
    """When it was exported, and on this machine."""
    rows = []
    for name, variant in evidence.manifest.variants.items():
        found = variant.parity
        labels = "–" if found.label_agreement is None else format_percent(found.label_agreement)
        rows.append(
            [name, f"{found.max_abs:.1e}", f"{found.max_rel:.1e}", labels, format_count(found.rows)]
        )
    blocks: list[Block] = [_replayed(proof) for proof in evidence.self_tests]
    blocks.append(
        TableBlock(
            ["variant", "largest |Δ|", "largest relative |Δ|", "labels equal", "rows compared"],
            rows,
            "How far the graph's answers are from the NumPy network's, as measured when it was "
            "exported.",
        )
    )
    return Section("parity", blocks)


def _replayed(proof: SelfTestResult) -> Paragraph:
    if not proof.passed or proof.difference is None:
        return Paragraph(f"{proof.variant} was replayed here and fails: {proof.failure}", "bad")
    return Paragraph(
        f"{proof.variant} was replayed on this machine and reproduces its self-test: largest |Δ| "
        f"{proof.difference.max_abs:.1e} over {format_count(proof.difference.rows, 'row')}.",
        "good",
    )


def build_variants_section(evidence: ReportInputs) -> Section:
    """Size, speed and quality of each graph."""
    found = evidence.manifest.variants
    batches = list(dict.fromkeys(batch for v in found.values() for batch in v.latency_us))
    metrics = list(dict.fromkeys(metric for v in found.values() for metric in v.metrics))
    costs = TableBlock(
        ["variant", "file", "bits", "size", *(f"µs, batch {batch}" for batch in batches)],
        [_cost(name, variant, batches) for name, variant in found.items()],
        "Bits of a weight; median time of one run on the machine that exported it, by rows in the "
        "batch.",
        words=range(2),
    )
    quality = TableBlock(
        ["metric", *found],
        [
            [
                format_metric(metric, evidence.manifest.positive_class),
                *(format_decimal(v.metrics.get(metric)) for v in found.values()),
            ]
            for metric in metrics
        ],
        "Of each variant, on the test rows.",
        narrow=True,
    )
    inputs = "one matrix, features" if evidence.manifest.is_all_numeric else "one input per column"
    outputs = "label and probabilities" if evidence.manifest.classes else "value"
    facts = FactList(
        [
            ("takes", inputs),
            ("answers", outputs),
            ("parameters", format_count(evidence.manifest.parameters)),
            ("variants", join_words(list(found))),
        ]
    )
    return Section("variants", [facts, costs, quality])


def _cost(name: str, variant: Variant, batches: list[str]) -> list[str]:
    times = [format_number(variant.latency_us.get(batch), 3) for batch in batches]
    return [name, variant.file, str(variant.bits), format_size(variant.size_bytes), *times]
