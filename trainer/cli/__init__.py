"""The command line of the trainer.

Results go to stdout, progress and errors to stderr. Exit status 1 means the command could not do
what was asked or the answer is no; 2 means it was asked wrongly.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from serving.bundle import fault_of_full_disk
from trainer.cli.check import check
from trainer.cli.compress import compress
from trainer.cli.fit import fit
from trainer.cli.report import report
from trainer.cli.score import score
from trainer.cli.search import search
from trainer.cli.study import study
from trainer.cli.verify import verify


class _Commands(click.Group):
    """The commands; one that meets a full disk says which file had no room, in one line."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command that was asked for; a full disk is told in one line."""
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            fault = fault_of_full_disk(error)
            if fault is None:
                raise
            click.ClickException(fault).show()
            sys.exit(1)


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "show_default": True}
)
@click.version_option(package_name="forwardpass")
def main() -> None:
    """Train a network in NumPy and ship it as a proved ONNX bundle."""


for command in (fit, search, compress, report, score, check, verify, study):
    main.add_command(command)
