"""Check that the libraries for training are installed, when this module is imported.

`pip install forwardpass` installs what a server needs, and `trainer.nn` needs nothing but NumPy.
The other packages of trainer need the extra `train`. They import this module before any of its
libraries, so that without the extra the import ends with the remedy, instead of the name of a
library that the user never chose.
"""

from __future__ import annotations

from importlib.util import find_spec

LIBRARIES = (  # import names of what pyproject.toml lists under the extra `train`
    "jinja2",
    "matplotlib",
    "onnx",
    "pyarrow",
    "rich",
    "scipy",
    "sklearn",
    "threadpoolctl",
)


def require_libraries() -> None:
    """Refuse an environment in which a library of the extra `train` is missing.

    Nothing is imported.

    Raises:
        ImportError: If a library is missing; the message has the command that installs it.
    """
    missing = [name for name in LIBRARIES if find_spec(name) is None]
    if missing:
        raise ImportError(
            f"expected the libraries for training; not installed: {', '.join(missing)}; "
            f"run: pip install 'forwardpass[train]'",
            name=missing[0],
        )


require_libraries()
