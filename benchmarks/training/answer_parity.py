"""One answer, three ways, on real tables: the NumPy pipeline, `trainer score`, POST /predict.

Trains on Adult and on diamonds as the README does, takes held-out records, empties some cells and
puts categories never seen into others, and has the same records answered by the NumPy pipeline, by
`trainer score` from a CSV file, and by a real server over HTTP, in bodies of records.

    python benchmarks/training/answer_parity.py --records 5000
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import numpy as np
import pyarrow.parquet

from benchmarks.training.real_tables import fits
from trainer.cli.options import configure
from trainer.data.records import Records
from trainer.model import Answers
from trainer.pipeline import fit

GAPS, UNSEEN = 0.1, 0.05  # shares of all cells, and of categories
BODY = 100  # records


def spoiled(records: Records, rng: np.random.Generator) -> list[dict]:
    """The records as clients write them, with gaps and categories never seen."""
    rows: list[dict] = [{} for _ in range(len(records))]
    for column in records.columns:
        values = records.column(column.name)
        for row, value in zip(rows, values, strict=True):
            if rng.random() < GAPS:
                row[column.name] = None
            elif column.kind == "category":
                unseen = value < 0 or rng.random() < UNSEEN
                row[column.name] = f"unseen {rng.integers(9)}" if unseen else column.words[value]
            else:
                row[column.name] = None if np.isnan(value) else float(str(value))
    return rows


def as_records(rows: list[dict], like: Records) -> Records:
    """By hand, without the code that reads files or bodies."""
    columns, arrays = [], {"numbers": [], "codes": []}
    for column in like.columns:
        values = [row[column.name] for row in rows]
        if column.kind == "category":
            words = tuple(sorted({value for value in values if value is not None}))
            places = {word: place for place, word in enumerate(words)}
            arrays["codes"].append([-1 if v is None else places[v] for v in values])
            columns.append(type(column)(column.name, column.kind, words))
        else:
            arrays["numbers"].append([np.nan if v is None else v for v in values])
            columns.append(column)
    numbers = np.array(arrays["numbers"], np.float32).reshape(-1, len(rows)).T
    codes = np.array(arrays["codes"], np.int32).reshape(-1, len(rows)).T
    return Records(tuple(columns), np.ascontiguousarray(numbers), codes=codes)


def scored(rows: list[dict], bundle: Path, classes: list[str] | None) -> Answers:
    """By `trainer score`, from a CSV file to a Parquet file."""
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
    p = np.column_stack([table[f"probability_{name}"].to_numpy() for name in classes])
    return {"label": table["prediction"].to_numpy().astype(str), "probabilities": p}


def served(rows: list[dict], models: Path, name: str) -> Answers:
    """By a server of its own, over HTTP."""
    command = [sys.executable, "-m", "serving", "run", "--models", str(models), "--port", "0"]
    process = subprocess.Popen([*command, "--workers", "1"], stdout=subprocess.PIPE, text=True)
    try:
        url = next(
            found[1]
            for line in process.stdout
            if (found := re.search(r"Listening at: (http://\S+)", line))
        )
        answers = [
            _post(f"{url}/predict?model={name}", rows[start : start + BODY])
            for start in range(0, len(rows), BODY)
        ]
    finally:
        process.terminate()
        process.communicate(timeout=30)
    predictions = [p for answer in answers for p in answer["predictions"]]
    if "probabilities" not in answers[0]:
        return {"value": np.array(predictions)[:, None]}
    p = np.array([p for answer in answers for p in answer["probabilities"]])
    return {"label": np.array(predictions), "probabilities": p}


def _post(url: str, rows: list[dict]) -> dict:
    request = urllib.request.Request(  # noqa: S310
        url, json.dumps({"instances": rows}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return json.load(answer)


def compared(found: Answers, expected: Answers) -> str:
    """Labels alike, and the largest differences."""
    output = "value" if "value" in expected else "probabilities"
    wanted = expected[output].astype(np.float64)
    delta = np.abs(found[output] - wanted)
    relative = delta / np.abs(wanted)
    worst = np.unravel_index(relative.argmax(), relative.shape)
    said = f"max |Δ| {delta.max():.1e}, relative {relative[worst]:.1e} (at {wanted[worst]:.4g})"
    within = (delta <= 1e-5 * np.abs(wanted)).all(axis=1)
    said += f", within 1e-5 relative: {within.mean():.2%}"
    if output == "value":  # near 0, where float32 has no digits left of a price
        said += f"; all within {delta.max() / wanted.std():.1e} of the spread of the answers"
    if "label" in expected:
        said = f"labels alike {(found['label'] == expected['label']).mean():.2%}, {said}"
    return said


def main() -> None:
    """Train, spoil, ask three ways, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=5000)
    asked = parser.parse_args()
    for arguments in fits():
        name = arguments[1]
        if name not in ("adult", "diamonds"):
            continue
        flags = [a.lstrip("-").replace("-", "_") for a in arguments[2::2]]
        options = dict(zip(flags, arguments[3::2], strict=True))
        with tempfile.TemporaryDirectory() as folder:
            places = {"models": f"{folder}/models", "runs": f"{folder}/runs", "gaps": "impute"}
            config = configure(None, {"data": name, **options, **places, "skip_baselines": True})
            bundle, trained = fit(config)
            rng = np.random.default_rng(0)
            taken = rng.choice(trained.parts.test, asked.records, replace=False)
            rows = spoiled(trained.table.records.take(taken), rng)
            expected = trained.model.answers(as_records(rows, trained.table.records))
            classes = bundle.manifest.classes
            by_file = scored(rows, bundle.path, classes)
            by_http = served(rows, config.models, name)
        sys.stdout.write(
            f"{name}: {len(rows):,} held-out records with gaps and unseen categories\n"
            f"  trainer score against NumPy   {compared(by_file, expected)}\n"
            f"  POST /predict against NumPy   {compared(by_http, expected)}\n"
            f"  trainer score against POST    {compared(by_file, by_http)}\n"
        )


if __name__ == "__main__":
    main()
