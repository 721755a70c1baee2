"""The number of random examples that a test by Hypothesis tries."""

from __future__ import annotations

from hypothesis import settings

DEFAULT_EXAMPLES = 100  # Hypothesis' default, and the value in the profile of `make test`


def examples(count: int) -> settings:
    """Return settings with a number of examples, scaled like the profile scales the default."""
    return settings(max_examples=count * settings().max_examples // DEFAULT_EXAMPLES)
