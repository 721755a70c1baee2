"""The command line of the trainer: one module for each command, and what they share."""

from __future__ import annotations

from typing import Any

import trainer.train_extra  # noqa: F401 - says which extra to install

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
    """The group of the commands. If disk or memory are full, a command says so in one line."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command that the command line names."""
        with exit_on_full_disk():
            return super().main(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and end it in one line if an array does not fit into memory."""
        try:
            return super().invoke(ctx)
        except MemoryError as error:
            raise click.ClickException(
                f"expected enough memory for this command; got: {error or 'out of memory'}; use "
                f"smaller layers (--hidden) or batches (--batch-size), fewer columns (--drop), or "
                f"a machine with more memory"
            ) from error


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "show_default": True}
)
@click.version_option(package_name="forwardpass")
def main() -> None:
    """Train a network in NumPy and export it as a verified ONNX bundle.

    Results go to standard output, progress, warnings and errors to standard error. The exit status
    is 1 if a command failed, or if its answer is no, as that of verify can be; it is 2 if the
    command line is invalid.
    """


for command in (fit, search, compress, report, score, check, verify, study):
    main.add_command(command)
