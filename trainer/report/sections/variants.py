"""The sections on the ONNX graphs: parity with NumPy, and size, speed and quality of variants."""

from __future__ import annotations

from serving.bundle import Variant
from serving.runtime import SelfTestResult
from trainer.report.blocks import Block, FactList, Paragraph, Section, TableBlock
from trainer.report.formatting import (
    format_count,
    format_decimal,
    format_metric_with_direction,
    format_number,
    format_percent,
    format_size,
    join_words,
)
from trainer.report.inputs import ReportInputs


def build_parity_section(inputs: ReportInputs) -> Section:
    """Return the self-tests on this machine and the differences measured at export."""
    rows = []
    for name, variant in inputs.manifest.variants.items():
        parity = variant.parity
        agreement = parity.label_agreement
        rows.append(
            [
                name,
                f"{parity.max_abs:.1e}",
                f"{parity.max_rel:.1e}",
                "–" if agreement is None else format_percent(agreement),
                format_count(parity.rows),
            ]
        )
    blocks: list[Block] = [_describe_self_test(result) for result in inputs.self_tests]
    blocks.append(
        TableBlock(
            "Differences between the served graph and the trained network: one variant per line",
            [
                "variant",
                "largest absolute difference",
                "largest relative difference",
                "same class" if inputs.manifest.classes else "same label",
                "rows compared",
            ],
            rows,
            "At export, the ONNX graph that is served and the NumPy network that was trained "
            "answered the same rows. Differences near 0 mean that they are the same model.",
        )
    )
    return Section("parity", blocks)


def _describe_self_test(result: SelfTestResult) -> Paragraph:
    """Return a sentence on a self-test that was run for this report."""
    if not result.passed or result.difference is None:
        return Paragraph(
            f"{result.variant} fails its self-test on this machine: {result.failure}", "bad"
        )
    return Paragraph(
        f"{result.variant} passes its self-test on this machine: the largest absolute difference "
        f"is {result.difference.max_abs:.1e} over {format_count(result.difference.rows, 'row')}.",
        "good",
    )


def build_variants_section(inputs: ReportInputs) -> Section:
    """Return the inputs and outputs of the graphs, and size, speed and quality of each variant."""
    manifest = inputs.manifest
    named_variants = manifest.variants
    variants = named_variants.values()
    batches = list(dict.fromkeys(batch for v in variants for batch in v.latency_us))
    metrics = list(dict.fromkeys(metric for v in variants for metric in v.metrics))
    costs = TableBlock(
        "Size and speed: one variant per line",
        [
            "variant",
            "file",
            "bits per weight",
            "size",
            *(f"µs at batch size {batch}" for batch in batches),
        ],
        [_make_cost_row(name, variant, batches) for name, variant in named_variants.items()],
        "A variant is a graph with the same inputs and outputs; fp32 is the network as it was "
        "trained. µs: median time of one run in microseconds, on the machine that exported it.",
        words=range(2),
    )
    quality = TableBlock(
        "Metrics of the variants on the test rows: one metric per line",
        ["metric", *named_variants],
        [
            [
                format_metric_with_direction(metric, manifest.positive_class),
                *(format_decimal(v.metrics.get(metric)) for v in variants),
            ]
            for metric in metrics
        ],
        "Higher is better, except for those with ↓.",
        narrow=True,
    )
    is_matrix = manifest.is_all_numeric
    facts = FactList(
        [
            ("inputs", "one matrix, features" if is_matrix else "one input per column"),
            ("outputs", "label and probabilities" if manifest.classes else "value"),
            ("parameters", format_count(manifest.parameters)),
            ("variants", join_words(list(named_variants))),
        ]
    )
    return Section("variants", [facts, costs, quality])


def _make_cost_row(name: str, variant: Variant, batches: list[str]) -> list[str]:
    """Return the table row with file, bits, size and times of a variant."""
    times = [format_number(variant.latency_us.get(batch), 3) for batch in batches]
    return [name, variant.file, str(variant.bits), format_size(variant.size_bytes), *times]
