"""Parts chosen by name: activations, initializers, optimizers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def lookup(kind: str, table: Mapping[str, T], name: str) -> T:
    """The entry of `table` called `name`.

    Raises:
        ValueError: there is none; the message names the kind and lists those there are.
    """
    try:
        return table[name]
    except KeyError:
        article = "an" if kind[0] in "aeio" else "a"
        known = ", ".join(sorted(table))
        raise ValueError(f"expected the name of {article} {kind} ({known}); got {name!r}") from None
