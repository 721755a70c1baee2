"""Health: whether every layer of the finished network is alive."""

from __future__ import annotations

from trainer.report.blocks import Cell, Paragraph, Section, TableBlock
from trainer.report.formatting import count, number
from trainer.report.inputs import ReportInputs
from trainer.training.diagnostics import FAULTS, Measurement

HEADS = {
    "saturation": "saturated outputs",
    "dead_relu": "dead units",
    "vanishing_gradient": "gradient / largest",
    "exploding_gradient": "gradient / weights",
}


def health(evidence: ReportInputs) -> Section:
    """A line per layer, a column per measure."""
    if evidence.run is None:
        said = "The measures of each layer lie in the run's folder, which is not there."
        return Section("health", [Paragraph(said, "quiet")])
    measured = evidence.run.health
    kinds = [kind for kind in HEADS if any(m.fault == kind for m in measured)]
    kinds += sorted({m.fault for m in measured} - set(HEADS))
    layers = list(dict.fromkeys(m.where or "the network" for m in measured))
    by_place = {(m.where or "the network", m.fault): m for m in measured}
    rows = [[layer, *(_cell(by_place.get((layer, kind))) for kind in kinds)] for layer in layers]
    ill = [m for m in measured if not m.is_healthy]
    if ill:
        remedies = dict.fromkeys(f"{m.kind.name}: {m.kind.remedy}." for m in ill)
        verdict = Paragraph(
            f"{count(len(ill), 'measure')} of {len(measured)} out of bounds. {' '.join(remedies)}",
            "bad",
        )
    else:
        verdict = Paragraph(
            f"All {count(len(measured), 'measure')} are within their bounds.", "good"
        )
    bounds = "; ".join(f"{HEADS.get(k, k)}: {FAULTS[k].measure}, {FAULTS[k].bounds}" for k in kinds)
    return Section(
        "health",
        [
            verdict,
            TableBlock(
                ["layer", *(HEADS.get(kind, kind) for kind in kinds)],
                rows,
                f"Of the finished network, on training rows. {bounds[:1].upper()}{bounds[1:]}.",
            ),
        ],
    )


def _cell(m: Measurement | None) -> str | Cell:
    if m is None:
        return ""
    return number(m.value, 3) if m.is_healthy else Cell(f"{number(m.value, 3)} ✗", 0.3, "bad")
