"""Compare three answers on real tables: the NumPy model's, `trainer score`'s and POST /predict's.

Trains on Adult and on diamonds as in docs/results.md, takes held-out records, empties some cells,
and puts unseen categories into others. The same records are answered by the NumPy model, by
`trainer score` from a CSV file, and by a real server over HTTP.

    python -m benchmarks.training.answer_parity --records 5000
"""

from __future__ import annotations

import argparse
import csv
import http.client
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet

from benchmarks.robustness.server import run_server
from benchmarks.training.real_tables import read_fit_commands
from trainer.cli.options import configure
from trainer.data.records import Records
from trainer.model import Answers
from trainer.pipeline import fit

TABLES = ("adult", "diamonds")
MISSING_SHARE, UNSEEN_SHARE = 0.1, 0.05  # of all cells, and of all categories
RECORDS_PER_BODY = 100
MAX_RELATIVE_ERROR = 1e-5

Row = dict[str, Any]


def spoil_records(records: Records, rng: np.random.Generator) -> list[Row]:
    """Return records as clients write them, with missing values and unseen categories."""
    rows: list[Row] = [{} for _ in range(len(records))]
    for column in records.columns:
        values = records.column(column.name)
        for row, value in zip(rows, values, strict=True):
            if rng.random() < MISSING_SHARE:
                row[column.name] = None
            elif column.kind == "category":
                is_unseen = value < 0 or rng.random() < UNSEEN_SHARE
                unseen = f"unseen {rng.integers(9)}" if is_unseen else None
                row[column.name] = unseen or column.words[value]
            else:
                row[column.name] = None if np.isnan(value) else float(str(value))
    return rows


def build_records(rows: list[Row], like: Records) -> Records:
    """Build the trainer's records without the code that reads files or bodies.

    Args:
        rows: Rows as clients write them.
        like: Records with the same columns.
    """
    columns, numbers, codes = [], [], []
    for column in like.columns:
        values = [row[column.name] for row in rows]
        if column.kind == "category":
            words = tuple(sorted({value for value in values if value is not None}))
            code_by_word = {word: code for code, word in enumerate(words)}
            codes.append([-1 if value is None else code_by_word[value] for value in values])
            columns.append(type(column)(column.name, column.kind, words))
        else:
            numbers.append([np.nan if value is None else value for value in values])
            columns.append(column)
    number_array = np.array(numbers, np.float32).reshape(-1, len(rows)).T
    code_array = np.array(codes, np.int32).reshape(-1, len(rows)).T
    return Records(tuple(columns), np.ascontiguousarray(number_array), codes=code_array)


def score_file(rows: list[Row], bundle: Path, classes: Sequence[object] | None) -> Answers:
    """Return the answers of `trainer score`, from a CSV file to a Parquet file.

    Args:
        rows: The rows.
        bundle: Folder of the bundle.
        classes: Classes of a classifier; None for a regressor.
    """
    source, output = bundle.parent / "records.csv", bundle.parent / "scored.parquet"
    with source.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    command = [sys.executable, "-m", "trainer", "score", str(bundle), str(source)]
    subprocess.run([*command, "-o", str(output)], check=True, stdout=subprocess.DEVNULL)
    table = pyarrow.parquet.read_table(output)
    if classes is None:
        return {"value": table["prediction"].to_numpy()[:, None]}
    probabilities = np.column_stack([table[f"probability_{c}"].to_numpy() for c in classes])
    labels = table["prediction"].to_numpy().astype(str)
    return {"label": labels, "probabilities": probabilities}


def ask_server(rows: list[Row], models: Path, name: str) -> Answers:
    """Return the answers of a real server.

    Args:
        rows: The rows.
        models: Model repository.
        name: Name of the model.
    """
    with run_server(models.absolute(), workers=1) as server:
        connection = server.connect()
        answers = [
            _post(connection, f"/predict?model={name}", rows[start : start + RECORDS_PER_BODY])
            for start in range(0, len(rows), RECORDS_PER_BODY)
        ]
        connection.close()
    predictions = [p for answer in answers for p in answer["predictions"]]
    if "probabilities" not in answers[0]:
        return {"value": np.array(predictions)[:, None]}
    probabilities = np.array([p for answer in answers for p in answer["probabilities"]])
    return {"label": np.array(predictions), "probabilities": probabilities}


def _post(connection: http.client.HTTPConnection, path: str, rows: list[Row]) -> dict[str, Any]:
    body = json.dumps({"instances": rows})
    connection.request("POST", path, body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer: dict[str, Any] = json.loads(response.read())
    if response.status != http.client.OK:
        raise RuntimeError(f"expected status 200 for {path}; got {response.status}: {answer}")
    return answer


def describe_difference(answers: Answers, expected: Answers) -> str:
    """Return the share of equal labels and the largest differences, in one sentence."""
    output = "value" if "value" in expected else "probabilities"
    values = expected[output].astype(np.float64)
    difference = np.abs(answers[output] - values)
    relative = difference / np.abs(values)
    worst = np.unravel_index(relative.argmax(), relative.shape)
    is_close = (difference <= MAX_RELATIVE_ERROR * np.abs(values)).all(axis=1)
    sentence = (
        f"max |Δ| {difference.max():.1e}, relative {relative[worst]:.1e} (at {values[worst]:.4g}), "
        f"within {MAX_RELATIVE_ERROR:g} relative: {is_close.mean():.2%}"
    )
    if output == "value":  # near 0, float32 has no digits left of a price
        in_spreads = difference.max() / values.std()
        sentence += f"; all within {in_spreads:.1e} standard deviations of the answers"
    if "label" in expected:
        share = (answers["label"] == expected["label"]).mean()
        sentence = f"equal labels {share:.2%}, {sentence}"
    return sentence


def compare_table(arguments: list[str], record_count: int) -> None:
    """Train on a table, get the three answers, and print their differences.

    Args:
        arguments: Arguments of `trainer fit`, from docs/results.md.
        record_count: Number of held-out records.
    """
    name = arguments[1]
    flags = [flag.lstrip("-").replace("-", "_") for flag in arguments[2::2]]
    options: dict[str, str | None] = dict(zip(flags, arguments[3::2], strict=True))
    with tempfile.TemporaryDirectory() as folder:
        options |= {"models": f"{folder}/models", "runs": f"{folder}/runs", "gaps": "impute"}
        config = configure(None, {"data": name, **options, "skip_baselines": "true"})
        bundle, trained = fit(config)
        rng = np.random.default_rng(0)
        chosen = rng.choice(trained.split.test, record_count, replace=False)
        rows = spoil_records(trained.table.records.take(chosen), rng)
        expected = trained.model.answers(build_records(rows, trained.table.records))
        scored = score_file(rows, bundle.path, bundle.manifest.classes)
        served = ask_server(rows, config.models, name)
    sys.stdout.write(
        f"{name}: {len(rows):,} held-out records with missing values and unseen categories\n"
        f"  trainer score against NumPy   {describe_difference(scored, expected)}\n"
        f"  POST /predict against NumPy   {describe_difference(served, expected)}\n"
        f"  trainer score against POST    {describe_difference(scored, served)}\n"
    )


def main() -> None:
    """Compare the answers on both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--records",
        type=int,
        default=5000,
        help="number of held-out records of each table [default: 5000]",
    )
    options = parser.parse_args()
    for arguments in read_fit_commands():
        if arguments[1] in TABLES:
            compare_table(arguments, options.records)


if __name__ == "__main__":
    main()
