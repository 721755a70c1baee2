"""Golden inputs: the synthetic rows of a self-test.

Drawn from the training rows' statistics, never from the rows: a bundle gives no one's data away.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from serving.bundle import FEWEST_GOLDEN_ROWS, Expected, SelfTest
from trainer.export.parity import ParityError, decided, tolerances
from trainer.model import Model

SPREADS = (1, 1, 3, 30)  # in standard deviations: ordinary rows, outliers, far outliers
ROWS_PER_SPREAD = 32


def synthetic_rows(model: Model, rng: np.random.Generator) -> NDArray[np.float32]:
    """Random rows around the training data and far outside it, float32 `(n, n_features)`.

    A label whose lead is within float32 rounding may come out differently on another CPU without
    anything being wrong: such rows would be no test, and are left out.
    """
    middle, scale = (a.astype(np.float64) for a in (model.features.offset, model.features.scale))
    drawn = [
        rng.normal(middle, spread * scale, size=(ROWS_PER_SPREAD, len(middle)))
        for spread in SPREADS
    ]
    edges = [np.zeros_like(middle), middle, middle + 100 * scale, middle - 100 * scale]
    if model.loss.link == "exp":  # whose answers to far outliers are beyond float32
        drawn = drawn[:2]
        edges = edges[:2]
    most = float(np.finfo(np.float32).max) / 4  # so that x − offset does not overflow
    rows = np.concatenate([*drawn, edges]).clip(-most, most).astype(np.float32)
    return rows if model.classes is None else rows[decided(model, rows)]


def golden_selftest(model: Model, variant: str, rng: np.random.Generator) -> SelfTest:
    """Synthetic rows with the answers that NumPy gives to them.

    Raises:
        ParityError: hardly a row is decided, so there is nothing to prove the model by.
    """
    rows = synthetic_rows(model, rng)
    if len(rows) < FEWEST_GOLDEN_ROWS:
        raise ParityError(
            f"expected a model that prefers one class; got one that is undecided on all but "
            f"{len(rows)} of its golden rows; train it longer"
        )
    expected = Expected(outputs=model.answers(rows), tolerances=tolerances(model, rows))
    return SelfTest(inputs={"features": rows}, expected={variant: expected})
