"""A bundle and a checkpoint of manifests' schema version 1 do what they did when they were made."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.csv
import pytest
from click.testing import CliRunner

from serving import create_app
from trainer.cli import main

BEFORE = Path(__file__).parent / "bundles" / "schema_1"
ANSWERS = json.loads((BEFORE / "answers.json").read_text())


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    models = tmp_path_factory.mktemp("models")
    shutil.copytree(BEFORE / "visits", models / "visits")
    return create_app(models=models).test_client()


@pytest.mark.parametrize("number", range(len(ANSWERS)))
def test_predict_bundle_of_schema_1_returns_recorded_answers(client, number):
    recorded = ANSWERS[number]
    body, media = recorded["body"], recorded["content_type"]
    answer = client.post("/predict", data=body.encode(), content_type=media)
    assert answer.status_code == recorded["status"], answer.text
    if recorded["answer"] is None:
        return
    found = answer.json
    assert found["predictions"] == recorded["predictions"]
    expected = recorded["answer"].pop("probabilities")
    np.testing.assert_allclose(found.pop("probabilities"), expected, atol=1e-6)
    assert found == recorded["answer"]


def run(*arguments):
    done = CliRunner().invoke(main, [*map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done


def require_same_answers(path, expected):
    found, expected = pyarrow.csv.read_csv(path), pyarrow.csv.read_csv(expected)
    assert found.column_names == expected.column_names
    assert found["prediction"].to_pylist() == expected["prediction"].to_pylist()
    for name in expected.column_names[1:]:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-6)


def test_score_bundle_of_schema_1_writes_recorded_answers(tmp_path):
    output = tmp_path / "scored.csv"
    done = run("score", BEFORE / "visits" / "1", BEFORE / "visits.csv", "-o", output)
    assert "warning" not in done.stderr
    require_same_answers(output, BEFORE / "scored.csv")


def test_fit_checkpoint_of_schema_1_resumes_to_the_same_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the file's name is a choice of the run
    for name in ("plain.csv", "plain_checkpoint.npz"):
        shutil.copy(BEFORE / name, name)
    options = "--category zone --hidden 4 --epochs 12 --seed 3 --rare 1 --aim f1 --skip-baselines"
    options += " --positive good"  # which the second class was, without being said
    options += " --preset fast"  # the defaults of that version
    run("fit", "plain.csv", *options.split(), "--checkpoint", "plain_checkpoint.npz")
    run("score", "models/plain", "plain.csv", "-o", "scored.csv")
    require_same_answers("scored.csv", BEFORE / "plain_scored.csv")


def test_compress_bundle_of_schema_1_with_other_gap_texts_is_refused(tmp_path):
    shutil.copytree(BEFORE / "visits", tmp_path / "visits")
    command = ["compress", str(tmp_path / "visits"), "--data", str(BEFORE / "visits.csv")]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 1
    assert "or train the model again, which is necessary if the data have texts" in done.stderr
