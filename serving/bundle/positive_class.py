"""Find the positive class of a binary model, which is predicted from the threshold up."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from serving.bundle.spelling import canonicalize_text
from serving.bundle.truth_texts import is_false_and_true


def find_positive_index(
    classes: Sequence[int] | Sequence[str], positive: str | None = None
) -> int | None:
    """Return the index of the positive class among the classes of a model.

    Args:
        classes: Classes of the model, in their order.
        positive: Name of the positive class. It may be written in another form of the same text or
            number, for example 1.0 for 1. None to infer it from the names: the second of 0 and 1,
            false and true, f and t, no and yes, n and y, or off and on, in any case and order.

    Returns:
        0 or 1; None if there are not exactly two classes, or if `positive` is None and the names
        are none of these pairs.

    Raises:
        ValueError: If `positive` is not one of the classes.
    """
    names = [str(name) for name in classes]
    if positive is not None and positive not in names:
        canonical = canonicalize_text(positive)
        equal = [name for name in names if canonicalize_text(name) == canonical]
        if len(equal) == 1:
            positive = equal[0]
    if positive is not None and positive not in names:
        raise ValueError(
            f"expected a positive class out of {', '.join(names)}; got {positive!r}"
            f"{_suggest_class(positive, names)}"
        )
    if len(names) != 2:
        return None
    if positive is not None:
        return names.index(positive)
    first, second = names
    if is_false_and_true(first, second):
        return 1
    return 0 if is_false_and_true(second, first) else None


def _suggest_class(unknown: str, names: Sequence[str]) -> str:
    """Return `; did you mean …?` with the most similar class, or an empty text."""
    folded = {name.strip().casefold(): name for name in names}
    matches = get_close_matches(unknown.strip().casefold(), list(folded), n=1)
    return f"; did you mean {folded[matches[0]]!r}?" if matches else ""
