"""How many random examples a test tries."""

from __future__ import annotations

from hypothesis import settings

USUAL = 100  # examples of a test by Hypothesis' own default, and by the profile of `make test`


def examples(count: int) -> settings:
    """Return settings of so many examples, and of as many times more as the profile has."""
    return settings(max_examples=count * settings().max_examples // USUAL)
