"""The proof that a row's answer does not depend on the other rows of its batch.

The server joins the rows of several requests in one run. A graph that, say, subtracts the mean of
the batch passes a self-test that replays all golden rows at once, and then answers the same row
differently from request to request. So the golden rows are asked again in other company.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from serving.bundle import FEATURES_INPUT, Arrays, ExpectedAnswers, InputColumn, concatenate_rows
from serving.runtime.comparison import compare_outputs
from serving.runtime.session import GraphError, GraphSession

SMALL_BATCH_ROWS = 7  # rows: a size that no kernel is tuned for
OUTLIER_FACTOR = 1000  # times the golden numbers

RowIndices = NDArray[np.int64]  # (n,), indices into the golden rows followed by as many outliers


def find_batch_dependence(
    session: GraphSession,
    columns: Sequence[InputColumn],
    inputs: Arrays,
    expected: ExpectedAnswers,
    max_batch_rows: int,
) -> str | None:
    """Ask for the golden rows alone, in small and large batches, and among outliers.

    Args:
        session: The loaded graph.
        columns: The model's columns.
        inputs: The golden rows by input name, each array of shape (rows, …).
        expected: The answers to them, with their tolerances.
        max_batch_rows: Rows of the largest batch that the server will join.

    Returns:
        How a row was asked when its answer was another one, as the end of a sentence; None if it
        never was.

    Raises:
        GraphError: If the graph does not run on such a batch or answers another number of rows.
    """
    rows = len(next(iter(inputs.values())))
    pool = concatenate_rows([inputs, _make_outliers(columns, inputs)])
    for how, batches in _list_batches(rows, max_batch_rows):
        asked = np.concatenate([batch[batch < rows] for batch in batches])
        found = concatenate_rows(
            [_answer_golden_rows(session, pool, batch, rows) for batch in batches]
        )
        difference = compare_outputs(
            found,
            {name: array[asked] for name, array in expected.outputs.items()},
            {name: array[asked] for name, array in expected.tolerances.items()},
        )
        if not difference.is_within_tolerance:
            return f"{how}: {difference.describe()}"
    return None


def _list_batches(rows: int, largest_batch: int) -> Iterator[tuple[str, Sequence[RowIndices]]]:
    golden = np.arange(rows)
    outliers = golden + rows
    sevens = [golden[at : at + SMALL_BATCH_ROWS] for at in range(0, rows, SMALL_BATCH_ROWS)]
    yield "alone", list(golden[:, np.newaxis])
    yield f"in batches of {SMALL_BATCH_ROWS} rows", sevens
    yield (
        f"in batches of {SMALL_BATCH_ROWS} rows beside one {OUTLIER_FACTOR:,} times as large",
        [np.append(batch, outliers[at % rows]) for at, batch in enumerate(sevens)],
    )
    # Golden rows and outliers by turns, in the opposite order.
    mixed = np.stack([outliers, golden], axis=1).ravel()[::-1]
    yield (
        f"in a batch of {largest_batch} rows, half of them {OUTLIER_FACTOR:,} times as large",
        [np.resize(mixed, largest_batch)],
    )


def _answer_golden_rows(
    session: GraphSession, pool: Arrays, batch: RowIndices, golden_rows: int
) -> Arrays:
    """Return the answers to the golden rows of a batch."""
    outputs = session.run({name: array[batch] for name, array in pool.items()})
    for name, array in outputs.items():
        if array.shape[:1] != batch.shape:
            raise GraphError(
                f"expected {name} of {len(batch)} rows for as many; got the shape {array.shape}"
            )
    return {name: array[batch < golden_rows] for name, array in outputs.items()}


def _make_outliers(columns: Sequence[InputColumn], inputs: Arrays) -> Arrays:
    """Return as many rows, which requests could bring, with numbers far from the golden ones.

    Booleans, dates and texts are those of other rows.
    """
    outliers = {name: array[::-1].copy() for name, array in inputs.items()}
    for place, column in enumerate(columns):
        if column.type == "number":
            is_matrix = column.input_name not in inputs
            array = outliers[FEATURES_INPUT if is_matrix else column.input_name]
            values = array[:, place if is_matrix else 0]
            largest = float(np.finfo(values.dtype).max)
            near = np.where(np.isfinite(values), values, 1).astype(np.float64)
            values[:] = np.clip(near * OUTLIER_FACTOR + OUTLIER_FACTOR, -largest, largest)
    return outliers
