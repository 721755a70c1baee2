"""A model of the default options goes through every command; classes are calibrated by default."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.metrics import brier_score_loss

from serving.bundle import Bundle
from serving.runtime import GraphSession, run_self_test
from trainer.cli import main
from trainer.compress.load_trained import load_trained

N_ROWS = 600


def run(*arguments):
    done = CliRunner().invoke(main, [*map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done


def write_people(path):
    """Write a table with numbers, gaps, a category, an amount and a class; return its path."""
    rng = np.random.default_rng(0)
    age, hours = rng.uniform(20, 60, N_ROWS), rng.uniform(10, 50, N_ROWS)
    trade = rng.choice(["nurse", "cook", "clerk"], N_ROWS)
    worth = (age - 40) / 12 + (trade == "nurse") + (hours - 30) / 20
    amount = 100 * np.exp(worth / 2 + 0.2 * rng.normal(size=N_ROWS))
    is_rich = worth + 0.7 * rng.normal(size=N_ROWS) > 1.4
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["age", "hours", "trade", "amount", "rich"])
        for i in range(N_ROWS):
            gap = "" if i % 9 == 0 else f"{hours[i]:.2f}"
            rich = "yes" if is_rich[i] else "no"
            writer.writerow([f"{age[i]:.2f}", gap, trade[i], f"{amount[i]:.2f}", rich])
    return path


@pytest.fixture(scope="module")
def fit_kind(tmp_path_factory):
    """Return a function that fits the class or the amount once; it returns bundle and folder.

    All options are the defaults, but for fewer epochs.
    """
    folder = tmp_path_factory.mktemp("default")
    data, bundles = write_people(folder / "people.csv"), {}
    places = ["--models", folder / "models", "--runs", folder / "runs", "--skip-baselines"]

    def fit(kind):
        if kind not in bundles:
            columns = {
                "class": ["--target", "rich", "--drop", "amount"],
                "amount": ["--target", "amount", "--drop", "rich"],
            }[kind]
            done = run("fit", data, "--name", kind, "--epochs", 15, *columns, *places, "--json")
            bundles[kind] = Bundle.open(Path(json.loads(done.stdout)["bundle"]))
        return bundles[kind], folder

    return fit


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["class", "amount"])
def test_default_run_bundle_passes_its_self_test_and_is_loaded(kind, fit_kind):
    bundle, _ = fit_kind(kind)
    assert run_self_test(bundle, "fp32").passed
    config = bundle.manifest.training.config
    assert (config["preset"], config["hidden"]) == ("balanced", [128, 128, 128])
    assert load_trained(bundle).config.preset == "balanced"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["class", "amount"])
def test_default_run_score_writes_the_answers_of_the_model(kind, fit_kind, tmp_path):
    bundle, folder = fit_kind(kind)
    run("score", bundle.path, folder / "people.csv", "-o", tmp_path / "scored.csv")
    trained = load_trained(bundle)
    answers = trained.model.answers(trained.table.records)
    with (tmp_path / "scored.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == N_ROWS
    if kind == "class":
        written = [float(row["probability_yes"]) for row in rows]
        np.testing.assert_allclose(written, answers["probabilities"][:, 1], atol=1e-5)
    else:
        written = [float(row["prediction"]) for row in rows]
        np.testing.assert_allclose(written, answers["value"][:, 0], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["class", "amount"])
def test_default_run_report_shows_preset_and_options(kind, fit_kind, tmp_path):
    bundle, folder = fit_kind(kind)
    page = tmp_path / "report.html"
    run("report", bundle.path, "--runs", folder / "runs", "-o", page)
    text = page.read_text(encoding="utf-8")
    for word in ("preset", "balanced", "swish", "fan_in", "flat_cosine", "squared_error"):
        assert word in text, word


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["class", "amount"])
def test_default_run_compress_writes_variants_that_pass(kind, fit_kind):
    bundle, _ = fit_kind(kind)
    done = run("compress", bundle.path, "--max-drop", 0.9, "--prune", 0.5, "--epochs", 1, "--json")
    compressed = Bundle.open(Path(json.loads(done.stdout.splitlines()[-1])["bundle"]))
    assert len(compressed.manifest.variants) >= 3
    inputs = compressed.read_selftest().inputs
    for name in compressed.manifest.variants:
        assert run_self_test(compressed, name).passed
        outputs = GraphSession(compressed.read_graph(name)).run(inputs)
        assert all(np.isfinite(v).all() for k, v in outputs.items() if k != "label")


@pytest.mark.slow
def test_fit_classes_are_calibrated_unless_no_calibrate(fit_kind, tmp_path):
    bundle, folder = fit_kind("class")
    config = bundle.manifest.training.config
    assert config["calibrate"] is True
    assert bundle.manifest.temperature != 1
    places = ["--models", tmp_path / "models", "--runs", tmp_path / "runs", "--skip-baselines"]
    columns = ["--target", "rich", "--drop", "amount", "--epochs", 15, "--json"]
    done = run("fit", folder / "people.csv", *columns, *places, "--no-calibrate")
    manifest = Bundle.open(Path(json.loads(done.stdout)["bundle"])).manifest
    config = manifest.training.config
    assert (config["calibrate"], config["label_smoothing"]) == (False, 0)
    assert (manifest.temperature, manifest.logit_bias) == (1, None)


@pytest.mark.slow
def test_fit_class_weight_is_calibrated_by_default(fit_kind, tmp_path):
    _, folder = fit_kind("class")
    places = ["--models", tmp_path / "models", "--runs", tmp_path / "runs", "--skip-baselines"]
    columns = ["--target", "rich", "--drop", "amount", "--epochs", 15, "--json"]
    means, scores = {}, {}
    for name, extra in {"calibrated": [], "weighted": ["--no-calibrate"]}.items():
        done = run(
            *("fit", folder / "people.csv", *columns, *places),
            *("--name", name, "--class-weight", "balanced", *extra),
        )
        trained = load_trained(Bundle.open(Path(json.loads(done.stdout)["bundle"])))
        p = trained.model.answers(trained.table.records)["probabilities"][:, 1]
        is_rich = trained.table.target == "yes"
        means[name], scores[name] = p.mean(), brier_score_loss(is_rich, p)
        share = is_rich[trained.split.train].mean()
        threshold = share if name == "calibrated" else 0.5
        assert trained.model.threshold == pytest.approx(threshold)
    assert means["calibrated"] == pytest.approx(is_rich.mean(), abs=0.05)
    assert means["weighted"] > means["calibrated"] + 0.05
    assert scores["calibrated"] < scores["weighted"]
