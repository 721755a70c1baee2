"""Check that a graph's outputs for a row do not depend on the other rows of the batch.

The server runs the rows of several requests as one batch. A graph that, for example, subtracts the
mean of the batch passes a self-test of all golden rows at once, but later computes different
outputs for the same row. So the golden rows are run again in several other batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from serving.bundle import FEATURES_INPUT, Arrays, ExpectedAnswers, InputColumn, concatenate_rows
from serving.runtime.comparison import compare_outputs
from serving.runtime.session import GraphError, GraphSession

SMALL_BATCH_ROWS = 7  # an odd size, for which the operators have no optimized code
OUTLIER_FACTOR = 1000  # how many times as large as the golden numbers the outliers are

RowIndices = NDArray[np.int64]  # (n,), indices into the golden rows followed by the outliers


def find_batch_dependence(
    session: GraphSession,
    columns: Sequence[InputColumn],
    inputs: Arrays,
    expected: ExpectedAnswers,
    max_batch_rows: int,
) -> str | None:
    """Run the golden rows alone, in small and large batches, and among outliers.

    Args:
        session: Session of the graph to check.
        columns: Input columns of the model, in the order of the manifest.
        inputs: Golden rows by input name, each array of shape (rows, …).
        expected: Expected outputs for the golden rows, with their tolerances.
        max_batch_rows: Number of rows of the largest batch that the server forms.

    Returns:
        Description of the batch in which an output differed, as the end of a sentence; None if no
        output differed.

    Raises:
        GraphError: If the graph cannot run one of the batches, or if its outputs have another
            number of rows.
    """
    rows = len(next(iter(inputs.values())))
    pool = concatenate_rows([inputs, _make_outliers(columns, inputs)])
    for description, batches in _list_batches(rows, max_batch_rows):
        indices = np.concatenate([batch[batch < rows] for batch in batches])
        outputs = concatenate_rows(
            [_run_golden_rows(session, pool, batch, rows) for batch in batches]
        )
        difference = compare_outputs(
            outputs,
            {name: array[indices] for name, array in expected.outputs.items()},
            {name: array[indices] for name, array in expected.tolerances.items()},
        )
        if not difference.is_within_tolerance:
            return f"{description}: {difference.describe()}"
    return None


def _list_batches(rows: int, max_batch_rows: int) -> Iterator[tuple[str, Sequence[RowIndices]]]:
    """Yield several ways to split the golden rows: a description, and the batches."""
    golden = np.arange(rows)
    outliers = golden + rows
    small_batches = [
        golden[start : start + SMALL_BATCH_ROWS] for start in range(0, rows, SMALL_BATCH_ROWS)
    ]
    yield "alone", list(golden[:, np.newaxis])
    yield f"in batches of {SMALL_BATCH_ROWS} rows", small_batches
    yield (
        f"in batches of {SMALL_BATCH_ROWS} rows and one {OUTLIER_FACTOR:,} times as large",
        [np.append(batch, outliers[i % rows]) for i, batch in enumerate(small_batches)],
    )
    # Golden rows and outliers alternate, and the last row comes first.
    mixed = np.stack([outliers, golden], axis=1).ravel()[::-1]
    yield (
        f"in a batch of {max_batch_rows} rows, half of them {OUTLIER_FACTOR:,} times as large",
        [np.resize(mixed, max_batch_rows)],
    )


def _run_golden_rows(
    session: GraphSession, pool: Arrays, batch: RowIndices, golden_rows: int
) -> Arrays:
    """Run one batch and return the outputs for its golden rows."""
    outputs = session.run({name: array[batch] for name, array in pool.items()})
    for name, array in outputs.items():
        if array.shape[:1] != batch.shape:
            raise GraphError(
                f"expected {name} with one row for each of the {len(batch)} input rows; got the "
                f"shape {array.shape}"
            )
    return {name: array[batch < golden_rows] for name, array in outputs.items()}


def _make_outliers(columns: Sequence[InputColumn], inputs: Arrays) -> Arrays:
    """Return as many valid rows as there are golden rows, with far larger numbers.

    The rows are in the opposite order. Their booleans, dates and texts are not changed.
    """
    outliers = {name: array[::-1].copy() for name, array in inputs.items()}
    for position, column in enumerate(columns):
        if column.type == "number":
            is_matrix = column.input_name not in inputs
            array = outliers[FEATURES_INPUT if is_matrix else column.input_name]
            values = array[:, position if is_matrix else 0]
            largest = float(np.finfo(values.dtype).max)
            golden = np.where(np.isfinite(values), values, 1).astype(np.float64)
            values[:] = np.clip(golden * OUTLIER_FACTOR + OUTLIER_FACTOR, -largest, largest)
    return outliers
