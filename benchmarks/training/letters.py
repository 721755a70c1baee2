"""Write the letters of Frey and Slate 1991 to a CSV file, from Debian's package r-cran-mlbench.

Needs apt-get and dpkg-deb. The package is unpacked to a temporary folder; nothing is installed.

    python -m benchmarks.training.letters data/letters.csv
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pyreadr

PACKAGE = "r-cran-mlbench"


def main() -> None:
    """Download the package, unpack it, and write the table."""
    output = Path(sys.argv[1]).absolute()
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run(
            ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", PACKAGE],
            cwd=folder,
            check=True,
        )
        (package,) = folder.glob("*.deb")
        subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
        (file,) = folder.rglob("LetterRecognition.rda")
        (letters,) = pyreadr.read_r(file).values()
    letters.astype(dict.fromkeys(letters.columns[1:], int)).to_csv(output, index=False)
    sys.stdout.write(f"{output.name}: {len(letters):,} rows\n")


if __name__ == "__main__":
    main()
