"""Fixtures of the tests of the checks."""

from __future__ import annotations

import pytest

from tests.trainer.data.checks.tables import N


@pytest.fixture
def target(rng):
    return rng.integers(0, 3, N)


@pytest.fixture
def noise(rng):
    return rng.normal(size=N)
