"""The page: its sections in one HTML file, which asks no network and runs no script."""

from __future__ import annotations

from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from trainer.report import blocks
from trainer.report.inputs import ReportInputs
from trainer.report.sections import build_sections

_ENVIRONMENT = Environment(
    loader=PackageLoader("trainer.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(evidence: ReportInputs) -> str:
    """The page of a bundle.

    Args:
        evidence: as `Evidence.gather` finds it.

    Returns:
        A whole HTML document, styled for light, dark and paper.
    """
    # Ours, and its quotes and angle brackets must stay as they are.
    style = Markup(files("trainer.report").joinpath("templates/page.css").read_text("utf-8"))  # noqa: S704
    return _ENVIRONMENT.get_template("page.html").render(
        evidence=evidence,
        manifest=evidence.manifest,
        sections=build_sections(evidence),
        kind=_kind,
        style=style,
    )


def _kind(block: blocks.Block) -> str:
    """Which macro shows it."""
    return type(block).__name__.lower()
