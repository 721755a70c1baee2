"""The folder of a run: what is recorded, read again and refused."""

import csv
import hashlib
import json
from datetime import UTC, datetime

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from serving.bundle import Bundle
from trainer import runs
from trainer.cli import main
from trainer.config import Config
from trainer.data.records import Column, Records
from trainer.data.tables import Table
from trainer.pipeline import fit
from trainer.run_rows import rows_from_arrow, rows_to_arrow
from trainer.runs import RunError, read_run, write_run


def fit_and_record(config):
    """Train a model and record its run; return the bundle, the result and the run's folder."""
    bundle, trained = fit(config)
    before = compute_checksums(bundle.path)
    path = write_run(
        config.runs,
        bundle,
        config=trained.config,
        model=trained.model,
        table=trained.table,
        split=trained.split,
        history=trained.history,
    )
    assert compute_checksums(bundle.path) == before  # the bundle is not changed
    return bundle, trained, path


def compute_checksums(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


@pytest.fixture(scope="session")
def people(tmp_path_factory):
    """The options of a run on all kinds of columns, the rows as texts, and the run."""
    folder = tmp_path_factory.mktemp("people")
    rng = np.random.default_rng(0)
    rows = [
        {
            "height": "" if i % 7 == 0 else f"{rng.normal():.3f}",
            "smoker": "" if i % 8 == 0 else ("true" if i % 3 else "false"),
            "town": "" if i % 9 == 0 else ("Bonn", "Ulm, alt", "Ölde")[i % 3],
            "born": "" if i % 10 == 0 else f"19{50 + i % 50}-03-0{1 + i % 9}",
            "__target__": f"{i % 5}",  # the name of the target's column in test.parquet
            "ill": ("no", "yes")[int(rng.random() < 0.4)],
        }
        for i in range(300)
    ]
    with (folder / "people.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    config = Config(
        data=str(folder / "people.csv"),
        models=folder / "models",
        runs=folder / "runs",
        epochs=3,
        hidden=(6, 4),
        activation="tanh,relu",
        number="__target__",
    )
    return config, rows, *fit_and_record(config)


@pytest.mark.slow
def test_read_run_test_rows_equal_those_of_the_table(people):
    _, _, _, trained, path = people
    run, test_rows = read_run(path), trained.table.records.take(trained.split.test)
    np.testing.assert_array_equal(run.truth, trained.table.target[trained.split.test])
    assert [(c.name, c.kind) for c in run.records.columns] == [
        (c.name, c.kind) for c in test_rows.columns
    ]
    inputs, expected = run.records.inputs(), test_rows.inputs()
    assert list(inputs) == list(expected)
    for name, array in expected.items():
        assert inputs[name].dtype == array.dtype
        np.testing.assert_array_equal(inputs[name], array)


def test_write_run_parquet_file_equals_the_csv_file(people):
    _, rows, _, trained, path = people
    table = pq.ParquetFile(path / "test.parquet").read()
    assert [str(kind) for kind in table.schema.types] == [
        "float",
        "bool",
        "string",
        "timestamp[us, tz=UTC]",
        "float",
        "string",
    ]
    assert table.column_names == ["height", "smoker", "town", "born", "__target__", "__target__"]
    height, smoker, town, born, _, truth = (column.to_pylist() for column in table.columns)
    for i, number in enumerate(trained.split.test.tolist()):
        row = rows[number]
        assert height[i] == (np.float32(row["height"]) if row["height"] else None)
        assert smoker[i] == {"": None, "true": True, "false": False}[row["smoker"]]
        assert town[i] == (row["town"] or None)
        day = datetime.fromisoformat(row["born"]).replace(tzinfo=UTC) if row["born"] else None
        assert born[i] == day
        assert truth[i] == row["ill"]


def test_write_run_json_and_csv_files_have_options_metrics_and_history(people):
    config, _, bundle, trained, path = people
    assert sorted(p.name for p in path.iterdir()) == [
        "config.json",
        "environment.json",
        "health.json",
        "history.csv",
        "metrics.json",
        "test.parquet",
        "weights.npz",
    ]
    run = read_run(path)
    assert Config.model_validate(run.config) == trained.config
    assert trained.config == config.resolve("binary", len(trained.split.train))
    manifest = json.loads((bundle.path / "bundle.json").read_text())
    assert run.metrics == {key: manifest[key] for key in ("metrics", "intervals", "baselines")}
    assert run.history == trained.history
    assert all(list(e.metrics) == ["validation_squared_error"] for e in run.history)
    assert run.environment["cores"] >= 1
    assert run.environment["graph"] == manifest["variants"]["fp32"]["sha256"]
    for key in ("python", "libraries", "platform", "cpu", "seconds"):
        assert run.environment[key]


def test_write_run_health_has_every_layer(people):
    *_, trained, path = people
    entries = json.loads((path / "health.json").read_text())
    assert all(set(entry) == {"name", "where", "value", "healthy"} for entry in entries)
    measured = {(entry["name"], entry["where"].split(",")[0]) for entry in entries}
    assert {("saturation", "layer 1"), ("dead_relu", "layer 3")} <= measured  # 2 is dropout
    layers = {  # dropout has no weights
        f"layer {i + 1}" for i, x in enumerate(trained.model.network.layers) if x.parameters()
    }
    assert {where for name, where in measured if name == "vanishing_gradient"} == layers
    healthy = [m.is_healthy for m in read_run(path).health]
    assert healthy == [entry["healthy"] for entry in entries]


def test_read_weights_restored_network_has_the_same_logits(people):
    config, _, _, trained, path = people
    network = type(trained.model.network)(
        trained.model.encoder.width, config.build_layers(1), rng=np.random.default_rng(9)
    )
    x = np.random.default_rng(1).normal(size=(5, trained.model.encoder.width)).astype(np.float32)
    assert (network.logits(x) != trained.model.network.logits(x)).any()
    network.restore(read_run(path).read_weights())
    np.testing.assert_array_equal(network.logits(x), trained.model.network.logits(x))


def test_write_run_many_test_rows_records_a_sample(people, tmp_path, monkeypatch):
    _, _, bundle, trained, _ = people
    monkeypatch.setattr(runs, "MAX_TEST_ROWS", 7)
    path = write_run(
        tmp_path,
        bundle,
        config=trained.config,
        model=trained.model,
        table=trained.table,
        split=trained.split,
        history=trained.history,
    )
    run = read_run(path)
    assert len(run.records) == len(run.truth) == 7
    assert set(run.truth) <= {"no", "yes"}


@pytest.mark.parametrize(("data", "targets"), [("diabetes", 1), ("linnerud", 3)])
def test_read_run_regression_targets_keep_their_shape(data, targets, tmp_path):
    config = Config(
        data=data,
        models=tmp_path / "models",
        runs=tmp_path / "runs",
        epochs=2,
        hidden=(4,),
        skip_baselines=True,
    )
    _, trained, path = fit_and_record(config)
    run = read_run(path)
    assert run.truth.shape == (len(trained.split.test), targets)
    np.testing.assert_array_equal(run.truth, trained.table.target[trained.split.test])
    names = pq.ParquetFile(path / "test.parquet").schema_arrow.names[-targets:]
    assert names == (
        ["__target__"] if targets == 1 else [f"__target_{i}__" for i in range(targets)]
    )


def test_write_run_same_name_and_version_is_replaced(people, tmp_path):
    _, _, bundle, trained, _ = people
    for _ in range(2):
        path = write_run(
            tmp_path,
            bundle,
            config=trained.config,
            model=trained.model,
            table=trained.table,
            split=trained.split,
            history=[],
        )
        (path / "old").touch(exist_ok=False)
    assert [p.name for p in path.parent.iterdir()] == ["1"]
    assert read_run(path).history == []


def test_read_run_damaged_file_is_refused(people, tmp_path):
    _, _, bundle, trained, path = people
    with pytest.raises(
        RunError, match="expected the folder of a run; got .*/2, which does not exist"
    ):
        read_run(path.parent / "2")
    for name in ("config.json", "health.json", "history.csv", "test.parquet"):
        copy = write_run(
            tmp_path,
            bundle,
            config=trained.config,
            model=trained.model,
            table=trained.table,
            split=trained.split,
            history=trained.history,
        )
        (copy / name).write_bytes((copy / name).read_bytes()[:40])
        with pytest.raises(RunError, match="expected the complete folder of a run"):
            read_run(copy)
        (copy / name).unlink()
        with pytest.raises(RunError, match="expected the complete folder of a run"):
            read_run(copy)
    (copy / "weights.npz").write_bytes(b"PK")
    with pytest.raises(RunError, match="expected complete weights"):
        read_run(path).__class__(copy, {}, {}, {}, [], [], None, None).read_weights()


def test_fit_records_the_run_and_warns_if_it_cannot(tmp_path):
    def trainer(*arguments):
        return CliRunner().invoke(main, [str(a) for a in arguments])

    quick = ("--epochs", 2, "--hidden", 4, "--skip-baselines", "--models", tmp_path / "models")
    done = trainer("fit", "iris", *quick, "--runs", tmp_path / "runs")
    assert done.exit_code == 0, done.output
    assert read_run(tmp_path / "runs" / "iris" / "1").config["data"] == "iris"
    (tmp_path / "file").touch()
    done = trainer("fit", "iris", *quick, "--runs", tmp_path / "file")
    assert done.exit_code == 0, done.output
    assert "warning: expected to record the run in" in done.stderr
    second = Bundle.open(tmp_path / "models" / "iris" / "2")
    assert "runs" not in second.manifest.training.config


def test_fit_bundle_contains_no_value_of_a_test_row(tmp_path):
    # Each number occurs once in the data.
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2)).astype(np.float32)
    np.savez(tmp_path / "data.npz", X=X, y=np.arange(60) % 2)
    config = Config(
        data=str(tmp_path / "data.npz"),
        models=tmp_path / "models",
        epochs=2,
        runs=tmp_path / "runs",
        hidden=(4,),
    )
    bundle, trained, path = fit_and_record(config)
    values = pq.ParquetFile(path / "test.parquet").read().columns[0].to_numpy()
    arrays = list(bundle.read_selftest().inputs.values())
    manifest = (bundle.path / "bundle.json").read_text()
    for value in values:
        assert not any((array == value).any() for array in arrays)
        assert str(value) not in manifest
    assert len(values) == len(trained.split.test)


def test_rows_to_arrow_dates_keep_fractions_of_seconds_and_early_years():
    dates = np.array([[0.0], [-6e10], [1.7e9 + 0.5], [np.nan]])
    records = Records((Column("when", "date"),), np.empty((4, 0), np.float32), dates)
    table = Table("made", records, np.array([0.0, 1, 2, 3])[:, None], ("y",), "regression")
    read, _ = rows_from_arrow(rows_to_arrow(table.records, table.target))
    np.testing.assert_array_equal(read.dates, dates)
