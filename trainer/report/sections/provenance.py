"""The origin: every choice, version and sum, to have it again and to know it when one sees it."""

from __future__ import annotations

import json

from trainer.report.blocks import Block, FactList, Paragraph, Section, TableBlock
from trainer.report.formatting import format_number
from trainer.report.inputs import ReportInputs


def build_provenance_section(evidence: ReportInputs) -> Section:
    """Config, libraries, machine, fingerprint, sums."""
    manifest = evidence.manifest
    chosen = [(name, _shown(held)) for name, held in manifest.training.config.items()]
    blocks: list[Block] = [
        FactList(
            [
                ("bundle", f"{manifest.name}/{manifest.version}"),
                ("created", manifest.created),
                ("data", manifest.data.fingerprint),
            ]
        ),
        FactList(chosen, "Choices"),
        FactList([*manifest.libraries.items()], "Versions"),
    ]
    if evidence.run is None:
        blocks.append(
            Paragraph(
                "The machine it was trained on is named in the run's folder, which is not there.",
                "quiet",
            )
        )
    else:
        where = evidence.run.environment
        blocks.append(
            FactList(
                [
                    (name, format_number(where[name], 3) if name == "seconds" else str(where[name]))
                    for name in ("platform", "cpu", "cores", "seconds")
                    if name in where
                ],
                "Machine",
            )
        )
    sums = [[file, digest] for file, digest in evidence.bundle.checksums.items()]
    blocks.append(
        TableBlock(
            ["file", "sha256"], sums, "Every file of the bundle but its manifest.", words=range(2)
        )
    )
    return Section("origin", blocks)


def _shown(held: object) -> str:
    if held is None:
        return "–"
    return held if isinstance(held, str) else json.dumps(held, ensure_ascii=False)
