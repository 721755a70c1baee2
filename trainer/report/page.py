"""Renders the sections of a report as one HTML file, without scripts and network requests."""

from __future__ import annotations

import re
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from trainer.report.blocks import Block, FactList, FigureRow, MetricTiles, Paragraph, TableBlock
from trainer.report.inputs import ReportInputs
from trainer.report.sections import build_sections

# The macro of the template for each kind of block.
_MACROS: dict[type[Block], str] = {
    Paragraph: "paragraph",
    FigureRow: "figure_row",
    TableBlock: "table",
    FactList: "facts",
    MetricTiles: "tiles",
}

_UNIT = re.compile(r"(?<=\d) (?=[%×])")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")


def _set_text(text: str) -> Markup:
    """Return a text as HTML in which no line breaks within `95 %` or an option such as `--aim`."""
    escaped = str(escape(_UNIT.sub("\N{NO-BREAK SPACE}", text)))
    # Safe, because the text is escaped and a match contains letters, digits and hyphens only.
    return Markup(_OPTION.sub(r"<code>\g<0></code>", escaped))  # noqa: S704


_ENVIRONMENT = Environment(
    loader=PackageLoader("trainer.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters["set_text"] = _set_text


def render(inputs: ReportInputs) -> str:
    """Return the report of a bundle.

    Args:
        inputs: Bundle, run and test rows that the report is about.

    Returns:
        A complete HTML document, with styles for light and dark screens and for printing.
    """
    # The style sheet is our own file; its quotes and angle brackets must not be escaped.
    style = Markup(files("trainer.report").joinpath("templates/page.css").read_text("utf-8"))  # noqa: S704
    return _ENVIRONMENT.get_template("page.html").render(
        inputs=inputs,
        manifest=inputs.manifest,
        sections=build_sections(inputs),
        get_macro_name=lambda block: _MACROS[type(block)],
        style=style,
    )
