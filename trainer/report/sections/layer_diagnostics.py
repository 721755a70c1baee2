"""The section on layers: saturation, dead units and gradients of the trained network."""

from __future__ import annotations

from trainer.report.blocks import Cell, Paragraph, Section, TableBlock
from trainer.report.formatting import capitalize, format_count, format_number
from trainer.report.inputs import ReportInputs
from trainer.training.diagnostics import FAULTS, Measurement

# Column names by the fault that a measurement detects.
COLUMN_NAMES = {
    "saturation": "saturated outputs",
    "dead_relu": "dead units",
    "vanishing_gradient": "gradient / largest gradient",
    "exploding_gradient": "gradient / weights",
}
WHOLE_NETWORK = "whole network"


def build_layers_section(inputs: ReportInputs) -> Section:
    """Return a table with a row per layer and a column per measurement."""
    if inputs.run is None:
        text = "The measurements of the layers are in the run folder, which was not found."
        return Section("layers", [Paragraph(text, "muted")])
    measurements = inputs.run.health
    faults = [fault for fault in COLUMN_NAMES if any(m.fault == fault for m in measurements)]
    faults += sorted({m.fault for m in measurements} - set(COLUMN_NAMES))
    layers = list(dict.fromkeys(m.where or WHOLE_NETWORK for m in measurements))
    by_key = {(m.where or WHOLE_NETWORK, m.fault): m for m in measurements}
    rows = [
        [layer, *(_format_measurement(by_key.get((layer, fault))) for fault in faults)]
        for layer in layers
    ]
    definitions = "; ".join(
        f"{COLUMN_NAMES.get(fault, fault)}: {FAULTS[fault].measure}, {FAULTS[fault].bounds}"
        for fault in faults
    )
    table = TableBlock(
        "Measurements of the layers: one layer per line",
        ["layer", *(COLUMN_NAMES.get(fault, fault) for fault in faults)],
        rows,
        f"Measured on training rows after training; –: not measured for this layer, ✗: outside of "
        f"the limits. {capitalize(definitions)}.",
    )
    return Section("layers", [_describe_faults(measurements), table])


def _describe_faults(measurements: list[Measurement]) -> Paragraph:
    """Return how many measurements are outside their limits, with remedies."""
    unhealthy = [m for m in measurements if not m.is_healthy]
    if not unhealthy:
        n = format_count(len(measurements), "measurement")
        return Paragraph(f"All {n} of the layers are within their limits.", "good")
    remedies = dict.fromkeys(f"{m.kind.name}: {m.kind.remedy}." for m in unhealthy)
    return Paragraph(
        f"{format_count(len(unhealthy), 'measurement')} of {len(measurements)} "
        f"{'is' if len(unhealthy) == 1 else 'are'} outside the limits. {' '.join(remedies)}",
        "bad",
    )


def _format_measurement(m: Measurement | None) -> str | Cell:
    if m is None:
        return "–"
    text = format_number(m.value, 3)
    return text if m.is_healthy else Cell(f"{text} ✗", 0.3, "bad")
