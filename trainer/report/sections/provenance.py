"""The section on provenance: options, versions, machine and checksums of the bundle."""

from __future__ import annotations

import json

from trainer.report.blocks import Block, FactList, Paragraph, Section, TableBlock
from trainer.report.formatting import format_number
from trainer.report.inputs import ReportInputs


def build_provenance_section(inputs: ReportInputs) -> Section:
    """Return everything that identifies the bundle and that is needed to train it again."""
    manifest = inputs.manifest
    options = [(name, _format_option(value)) for name, value in manifest.training.config.items()]
    blocks: list[Block] = [
        FactList(
            [
                ("bundle", f"{manifest.name}/{manifest.version}"),
                ("created", manifest.created),
                ("data", manifest.data.fingerprint),
            ]
        ),
        FactList(options, "Options"),
        FactList([*manifest.libraries.items()], "Library versions"),
    ]
    if inputs.run is None:
        text = "The training machine is described in the run folder, which was not found."
        blocks.append(Paragraph(text, "muted"))
    else:
        machine = inputs.run.environment
        items = [
            (name, format_number(machine[name], 3) if name == "seconds" else str(machine[name]))
            for name in ("platform", "cpu", "cores", "seconds")
            if name in machine
        ]
        blocks.append(FactList(items, "Machine"))
    checksums = [[file, digest] for file, digest in inputs.bundle.checksums.items()]
    caption = "All files of the bundle except the manifest."
    blocks.append(TableBlock(["file", "sha256"], checksums, caption, words=range(2)))
    return Section("provenance", blocks)


def _format_option(value: object) -> str:
    """Return the value of an option as text."""
    if value is None:
        return "–"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
