"""The command line of the trainer.

Results go to stdout, progress and errors to stderr. Exit status 1 means the command could not do
what was asked or the answer is no; 2 means it was asked wrongly.
"""

from __future__ import annotations

from typing import Any

import click

from serving.bundle import exit_on_full_disk
from trainer.cli.check import check
from trainer.cli.compress import compress
from trainer.cli.fit import fit
from trainer.cli.report import report
from trainer.cli.score import score
from trainer.cli.search import search
from trainer.cli.study import study
from trainer.cli.verify import verify


class _Commands(click.Group):
    """Group of the commands; one that cannot write to a full disk names the file and ends."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command of the command line."""
        with exit_on_full_disk():
            return super().main(*args, **kwargs)


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "show_default": True}
)
@click.version_option(package_name="forwardpass")
def main() -> None:
    """Train a network in NumPy and ship it as a proved ONNX bundle."""


for command in (fit, search, compress, report, score, check, verify, study):
    main.add_command(command)
