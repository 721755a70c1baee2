"""The positive class: which of two classes is looked for, and answered from the threshold up."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from serving.bundle.spelling import canonicalize_text

# Pairs of names, in lower case, of which everyone takes the second for the positive one.
KNOWN_CLASS_PAIRS = frozenset(
    {
        ("0", "1"),
        ("false", "true"),
        ("f", "t"),
        ("no", "yes"),
        ("n", "y"),
        ("off", "on"),
    }
)


def find_positive_index(
    classes: Sequence[int] | Sequence[str], said: str | None = None
) -> int | None:
    """Return the place of the positive class among the classes of a model.

    Args:
        classes: Classes of the model, in their order.
        said: Name of the positive class, spelled as in the data or as it is compared, so that 1.0
            is 1; None to go by what the classes are called: of 0 and 1, false and true, f and t,
            no and yes, n and y, off and on, in any case, the latter.

    Returns:
        0 or 1; None where there are not two classes, or neither was named and their names do not
        say it.

    Raises:
        ValueError: If `said` is none of the classes.
    """
    names = [str(name) for name in classes]
    if said is not None and said not in names:
        canonical = canonicalize_text(said)
        alike = [place for place, name in enumerate(names) if canonicalize_text(name) == canonical]
        if len(alike) == 1:
            said = names[alike[0]]
    if said is not None and said not in names:
        raise ValueError(
            f"expected a positive class out of {', '.join(names)}; got {said!r}{_suggest_class(said, names)}"
        )
    if len(names) != 2:
        return None
    if said is not None:
        return names.index(said)
    first, second = (name.lower() for name in names)
    if (first, second) in KNOWN_CLASS_PAIRS:
        return 1
    return 0 if (second, first) in KNOWN_CLASS_PAIRS else None


def _suggest_class(said: str, names: Sequence[str]) -> str:
    """Return "; did you mean ...?" with the name that is most like a wrong one, or ""."""
    folded = {name.strip().casefold(): name for name in names}
    close = get_close_matches(said.strip().casefold(), list(folded), n=1)
    return f"; did you mean {folded[close[0]]!r}?" if close else ""
