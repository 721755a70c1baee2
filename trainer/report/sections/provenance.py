"""The section on provenance: options, versions, machine and checksums of the bundle."""

from __future__ import annotations

import json

from serving.bundle import Manifest
from trainer.report.blocks import Block, FactList, Paragraph, Section, TableBlock
from trainer.report.formatting import format_number
from trainer.report.inputs import ReportInputs

# Facts about the training machine in the record of a run, and their names on the page.
MACHINE_FACTS = {
    "platform": "platform",
    "cpu": "processor",
    "cores": "processor cores",
    "seconds": "training time, in seconds",
}


def build_provenance_section(inputs: ReportInputs) -> Section:
    """Return everything that identifies the bundle and that is needed to train it again."""
    manifest = inputs.manifest
    options, unset = _list_options(manifest)
    blocks: list[Block] = [
        FactList(
            [
                ("bundle", f"{manifest.name}/{manifest.version}"),
                ("created", manifest.created),
                ("fingerprint of the data", manifest.data.fingerprint),
            ]
        ),
        FactList(options, "Options of the training"),
        *([Paragraph(f"Not set: {', '.join(unset)}.", "muted")] if unset else []),
        FactList([*manifest.libraries.items()], "Library versions"),
    ]
    if inputs.run is None:
        text = "The training machine is described in the run folder, which was not found."
        blocks.append(Paragraph(text, "muted"))
    else:
        machine = inputs.run.environment
        items = [
            (label, format_number(machine[name], 3) if name == "seconds" else str(machine[name]))
            for name, label in MACHINE_FACTS.items()
            if name in machine
        ]
        blocks.append(FactList(items, "Training machine"))
    checksums = [[file, digest] for file, digest in inputs.bundle.checksums.items()]
    title = "Checksums of the bundle: one file per line"
    caption = "All files except the manifest, which contains these checksums."
    blocks.append(TableBlock(title, ["file", "SHA-256"], checksums, caption, words=range(2)))
    return Section("provenance", blocks)


def _list_options(manifest: Manifest) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the options of `trainer fit` with their values, and the names of those not set.

    What the training decided where an option was not given, such as the target, is its value.
    """
    decided: dict[str, object] = {"target": list(manifest.data.target), "name": manifest.name}
    if manifest.positive_class is not None:
        decided["positive"] = manifest.positive_class
    options, unset = [], []
    for key, value in manifest.training.config.items():
        name = key if key == "data" else f"--{key.replace('_', '-')}"
        if value in (None, [], ()) and key not in decided:
            unset.append(name)
        elif value in (None, [], ()):
            options.append((name, f"{_format_option(decided[key])} (chosen, not given)"))
        else:
            options.append((name, _format_option(value)))
    return options, unset


def _format_option(value: object) -> str:
    """Return the value of an option as text."""
    if isinstance(value, list | tuple):
        return ", ".join(map(_format_option, value))
    if isinstance(value, bool):
        return "on" if value else "off"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
