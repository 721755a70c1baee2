"""The entry point of `trainer` and of `python -m trainer`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, or say how to install it if the extra `train` is missing."""
    try:
        import trainer.train_extra  # noqa: F401, PLC0415 - refuses an environment without the extra
    except ImportError as error:
        sys.exit(f"Error: {error}")
    from trainer.cli import main as run  # noqa: PLC0415 - needs the extra

    run()


if __name__ == "__main__":
    main()
