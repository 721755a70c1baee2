"""The benchmark of defaults: errors, ranks, ratios, fits in processes, the section of the page."""

import copy
import json
import sys

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import load_iris
from sklearn.metrics import log_loss, root_mean_squared_error

from benchmarks.defaults import fit_processes, our_fit
from benchmarks.defaults.error_measures import (
    compute_error_rate,
    compute_log_loss,
    measure_errors,
)
from benchmarks.defaults.fit_processes import FitRunner, TrainingContender
from benchmarks.defaults.judge import merge_seeds
from benchmarks.defaults.ranks import (
    CRITICAL_VALUES,
    compute_critical_difference,
    compute_friedman_statistic,
    compute_mean_ranks,
    find_equal_groups,
)
from benchmarks.defaults.ratios import compare_contenders
from benchmarks.defaults.row_split import split_rows
from benchmarks.defaults.shared_tables import share_table
from benchmarks.report import defaults_tables
from benchmarks.report.pages import list_comparisons, render_pages
from trainer.data.records import Records
from trainer.data.tables import make_table


def test_compute_mean_ranks_equals_scipy():
    errors = np.random.default_rng(0).integers(0, 5, (6, 20)) / 10  # with many ties
    ranks = compute_mean_ranks({str(i): row.tolist() for i, row in enumerate(errors)})
    expected = stats.rankdata(errors, axis=0).mean(axis=1)
    np.testing.assert_allclose(list(ranks.values()), expected)


def test_compute_mean_ranks_failed_contender_is_last():
    ranks = compute_mean_ranks({"a": [0.1, np.inf], "b": [0.2, 0.3], "c": [0.1, 0.4]})
    assert ranks == {"a": 2.25, "b": 2.0, "c": 1.75}


def test_compute_friedman_statistic_equals_scipy():
    errors = np.random.default_rng(0).random((5, 12))
    ranks = list(
        compute_mean_ranks({str(i): row.tolist() for i, row in enumerate(errors)}).values()
    )
    expected = stats.friedmanchisquare(*errors).statistic
    assert compute_friedman_statistic(ranks, 12) == pytest.approx(expected)


def test_ranks_of_demsar_give_his_figures():
    # Demšar 2006, section 3.2.2 and 3.2.4: four variants of C4.5 on 14 data sets.
    assert compute_friedman_statistic([3.143, 2.000, 2.893, 1.964], 14) == pytest.approx(
        9.28, abs=0.01
    )
    assert compute_critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)


@pytest.mark.parametrize("n_contenders", range(2, 11))
def test_critical_values_are_those_of_the_studentized_range(n_contenders):
    expected = stats.studentized_range.ppf(0.95, n_contenders, np.inf) / np.sqrt(2)
    assert CRITICAL_VALUES[n_contenders] == pytest.approx(expected, abs=0.001)
    assert set(CRITICAL_VALUES) == set(range(2, 11))


def test_find_equal_groups_are_the_largest_within_the_difference():
    ranks = {"d": 4.0, "a": 1.0, "c": 2.5, "b": 1.5, "e": 9.0}
    assert find_equal_groups(ranks, 1.6) == [("a", "b", "c"), ("c", "d")]
    assert find_equal_groups(ranks, 0.4) == []


def test_errors_equal_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(3), 50)
    target = rng.integers(0, 3, 50)
    assert compute_log_loss(target, probabilities) == pytest.approx(log_loss(target, probabilities))
    values = rng.normal(size=50)
    errors = measure_errors("regression", target, {"values": values})
    expected = root_mean_squared_error(target, values) / np.std(target)
    assert errors == {"error": pytest.approx(expected)}


def test_compute_error_rate_no_error_is_half_an_error():
    target = np.arange(9)
    assert compute_error_rate(target, target) == 0.05
    assert compute_error_rate(target, target[::-1]) == 0.85  # 4 is in the middle of both


def test_compute_log_loss_certain_and_wrong_is_finite():
    assert np.isfinite(compute_log_loss(np.array([1]), np.array([[1.0, 0.0]])))


def test_measure_errors_nan_raises():
    with pytest.raises(ValueError, match="expected finite predictions"):
        measure_errors("regression", np.ones(2), {"values": np.array([1.0, np.nan])})


def test_compare_contenders_counts_tables_by_their_mean_ratio():
    ours = {"a": [0.1, 0.4], "b": [0.2, 0.2], "c": [0.3, 0.3], "d": [1.0, 1.0]}
    other = {"a": [0.2, 0.2], "b": [0.4, 0.4], "c": [0.29, 0.29], "d": [0.8, 0.8], "e": [1.0]}
    compared = compare_contenders(ours, other)
    assert compared["tables"] == pytest.approx({"a": 1, "b": 0.5, "c": 0.3 / 0.29, "d": 1.25})
    assert (compared["better"], compared["worse"], compared["clearly_worse"]) == (1, 2, 1)
    assert compared["ratio"] == pytest.approx((1 * 0.5 * 0.3 / 0.29 * 1.25) ** 0.25)


def test_contender_parse_reads_preset_and_options():
    contender = TrainingContender.parse("balanced:  dropout=0.1 batch-size=64")
    assert contender.options == {"preset": "balanced", "dropout": "0.1", "batch_size": "64"}
    assert contender.name == "balanced: dropout=0.1 batch-size=64"
    assert TrainingContender.parse("fast") == TrainingContender("fast", {"preset": "fast"})
    with pytest.raises(ValueError, match="got 'dropout'"):
        TrainingContender.parse("fast: dropout")


@pytest.fixture(scope="module")
def iris():
    rows, target = load_iris(return_X_y=True)
    records = Records.of_numbers(("a", "b", "c", "d"), rows)
    table = make_table(source="iris", records=records, target=target, target_names=("y",))
    return share_table(table, "iris", *split_rows(target, is_regression=False, seed=1))


SCRIPT = """
import json, sys, time
import numpy as np
job = json.load(sys.stdin)
with open({log!r}, "a") as log:
    log.write(json.dumps(job) + "\\n")
if job["seed"] == 7:
    time.sleep(1000)
if job["seed"] == 8:
    sys.exit("out of luck")
np.savez(job["predictions"], labels=np.zeros(38), probabilities=np.full((38, 3), 1 / 3))
print(json.dumps({{"seconds": 1.5, "peak_mb": 90.0}}))
"""


@pytest.fixture
def make_runner(tmp_path, monkeypatch):
    """Return a function that makes runners whose fits are a script, which logs its jobs."""
    log = tmp_path / "log"
    log.touch()
    script = tmp_path / "fit.py"
    script.write_text(SCRIPT.format(log=str(log)))
    monkeypatch.setattr(FitRunner, "_get_command", lambda *_: [sys.executable, str(script)])

    def make(**options):
        return FitRunner(tmp_path / "kept", **options), lambda: log.read_text().splitlines()

    return make


@pytest.mark.slow
def test_fit_runner_fit_again_is_read_from_its_folder(make_runner, processes, iris, monkeypatch):
    runner, read_log = make_runner(threads=1)
    ours = TrainingContender.parse("balanced")
    first = runner.run(ours, iris, 1)
    # Of 38 rows, 13 are of the first class or 12: the script predicts that class for all.
    n_wrong = np.count_nonzero(iris.target[iris.test])
    assert first["error"] == (n_wrong + 0.5) / 39
    assert first["log_loss"] == pytest.approx(np.log(3))
    assert (first["seconds"], first["peak_mb"]) == (1.5, 90.0)
    assert first["process_seconds"] > 0
    assert runner.run(ours, iris, 1) == first
    assert len(read_log()) == 1
    for other in (
        TrainingContender.parse("balanced: dropout=0.5"),
        TrainingContender.parse("fast"),
    ):
        runner.run(other, iris, 1)
    runner.run(ours, iris, 2)
    assert [json.loads(line)["seed"] for line in read_log()] == [1, 1, 1, 2]
    monkeypatch.setattr(fit_processes, "compute_our_digest", lambda: "of other sources")
    runner.run(ours, iris, 1)
    assert len(read_log()) == 5


@pytest.mark.slow
def test_fit_runner_late_fit_is_ended_and_kept(make_runner, processes, iris):
    runner, read_log = make_runner(timeout=2)
    ours = TrainingContender.parse("balanced")
    for _ in range(2):
        assert runner.run(ours, iris, 7)["failed"] == "no result after 2 s"
    assert len(read_log()) <= 1


@pytest.mark.slow
def test_fit_runner_failed_fit_is_not_kept(make_runner, processes, iris):
    runner, read_log = make_runner()
    for _ in range(2):
        assert "out of luck" in runner.run(TrainingContender.parse("balanced"), iris, 8)["failed"]
    assert len(read_log()) == 2


def test_fit_runner_rival_without_an_interpreter_raises(tmp_path, iris):
    with pytest.raises(ValueError, match="say --rivals-python"):
        FitRunner(tmp_path).run(TrainingContender("lightgbm"), iris, 1)


@pytest.mark.slow
def test_our_fit_predicts_the_test_rows_and_measures_the_bundle(iris, tmp_path):
    iris.write(tmp_path / "table.npz")
    job = {
        "table": str(tmp_path / "table.npz"),
        "predictions": str(tmp_path / "predictions.npz"),
        "options": {"preset": "balanced", "epochs": "300", "hidden": "16,16"},
        "seed": 1,
        "measure_bundle": True,
    }
    answer = our_fit.run_job(job)
    with np.load(tmp_path / "predictions.npz") as predictions:
        labels, probabilities = predictions["labels"], predictions["probabilities"]
    np.testing.assert_array_equal(labels, probabilities.argmax(axis=1))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert np.mean(labels == iris.target[iris.test]) > 0.8
    assert set(answer["latency_us"]) == {"1", "8", "64", "256"}
    assert answer["bundle_bytes"] > answer["graph_bytes"] > 4 * 16 * 4
    assert answer["seconds"] > 0
    assert answer["peak_mb"] > 50


def test_merge_seeds_failed_fit_has_no_measures():
    done = {"error": 0.12345678, "log_loss": 0.5, "seconds": 2.0, "peak_mb": 90.0, "epochs": 3}
    assert merge_seeds([done, done])["error"] == [0.123457, 0.123457]
    assert merge_seeds([done, {"failed": "reason"}]) == {"failed": "reason"}


def make_measures(*errors):
    return {
        "error": list(errors),
        "log_loss": [2 * error for error in errors],
        "seconds": [1.0, 3.0],
        "peak_mb": [100.0, 120.0],
    }


@pytest.fixture
def defaults_result():
    """Return results in which `balanced` loses to CatBoost on both tables, and XGBoost fails."""
    bundle = {
        "bundle_bytes": 204_800,
        "graph_bytes": 100_000,
        "latency_us": {"1": 11.0, "8": 12.0, "64": 31.0, "256": 95.0},
    }
    entry = {
        "kind": "numbers",
        "size": "small",
        "rows": 345,
        "training_rows": 259,
        "test_rows": 86,
        "columns": 6,
        "categories": 0,
        "classes": 2,
        "rarest_share": 0.4203,
    }
    return {
        "benchmark": "defaults",
        "when": "2026-11-30T20:00:00+00:00",
        "minutes": 38.5,
        "commit": "abcdef1",
        "rounds": 2,
        "seeds": [1, 2],
        "threads": 2,
        "machine": {"cpu": "Test CPU", "cores": 2, "system": "Linux", "python": "3.11.7"},
        "libraries": {"numpy": "2.4.6", "catboost": "1.2.10"},
        "contenders": ["fast", "balanced", "best", "catboost", "xgboost"],
        "tables": {"bupa": entry, "german": entry | {"kind": "categories", "size": "medium"}},
        "results": {
            "bupa": {
                "fast": make_measures(0.4, 0.4),
                "balanced": make_measures(0.3, 0.3),
                "best": make_measures(0.2, 0.2),
                "catboost": make_measures(0.25, 0.25),
                "xgboost": make_measures(0.3, 0.3),
            },
            "german": {
                "fast": make_measures(0.2, 0.2),
                "balanced": make_measures(0.1, 0.1),
                "best": make_measures(0.05, 0.05),
                "catboost": make_measures(0.05, 0.2),
                "xgboost": {"failed": "no result after 300 s", "timeout": True},
            },
        },
        "fit_minutes": 37.5,
        "bundles": {"bupa": {"balanced": bundle}, "german": {"balanced": bundle}},
    }


def render_defaults_page(result):
    return render_pages({"defaults": result})["docs/benchmarks/default-networks.md"]


def test_page_defaults_losses_are_listed(defaults_result):
    section = render_defaults_page(defaults_result).split("\n## Where we lose\n")[1]
    # √(0.3/0.25 · √(0.1/0.05 · 0.1/0.2)) = 1.095 and 0.3/0.25 = 1.2
    assert section.split("\n\n")[1].splitlines()[2:] == [
        "| `balanced` | CatBoost | 1.095 | 1.095 | bupa |"
    ]


def test_page_defaults_begins_with_the_error_beside_each_rival(defaults_result):
    table = render_defaults_page(defaults_result).split("\n\n")[2].splitlines()
    assert table[0] == "| error, ours ÷ theirs | CatBoost | XGBoost |"
    assert [line.split(" | ")[1] for line in table[2:]] == ["0.632", "1.095", "1.789"]


def test_page_defaults_tables_have_the_figures_of_the_results(defaults_result):
    section = render_defaults_page(defaults_result)
    # balanced / fast: √(0.75 · 0.5)
    assert "| `balanced` | forwardpass (`fast`) | 0.612 | 2 | 0 | 0 | 0.612 |" in section
    assert "| `best` | CatBoost | 0.632 | 2 | 0 | 0 | 0.632 |" in section
    assert "| bupa | **0.2000** | 0.3000 | 0.4000 | 0.2500 | 0.3000 |" in section
    assert "| german | **0.0500** | 0.1000 | 0.2000 | 0.1250 | – |" in section
    assert "| german | categories, medium | 259 | 86 | 6 | 0 | 2 | 42.0 % |" in section
    assert "| CatBoost | 2.00 | 3.00 | 110 | 120 |" in section
    assert "| `balanced` | 11 | 12 | 31 | 95 | 200 | 200 |" in section
    assert "No result: XGBoost on german." in section
    words = " ".join(section.split())
    assert "with 2 threads for each fit. All fits one after the other took 37.5 minutes." in words


def test_page_defaults_ranks_are_those_of_the_mean_errors(defaults_result):
    ranks, difference = defaults_tables.compute_ranks(defaults_result)
    expected = {"best": 1.0, "catboost": 2.5, "balanced": 2.75, "fast": 4.5, "xgboost": 4.25}
    assert ranks == pytest.approx(expected)
    assert difference == pytest.approx(2.728 * np.sqrt(5 * 6 / 12))


def test_list_comparisons_defaults_have_each_preset_and_rival(defaults_result):
    listed = list_comparisons({"defaults": defaults_result})
    assert len(listed) == 3 * 2 * 2
    behind = {(c.ours, c.other, c.measure) for c in listed if c.is_behind}
    # The median of two ratios is their mean: balanced / CatBoost (1.2 + 1) / 2.
    assert ("balanced", "catboost", "error") in behind
    assert ("best", "catboost", "error") not in behind
    assert all(c.is_undecided is None for c in listed)


def test_draw_defaults_writes_the_same_plot_for_the_same_results(defaults_result, tmp_path):
    for name in ("one", "other"):
        defaults_tables.draw(copy.deepcopy(defaults_result), tmp_path / name)
    one, other = ((tmp_path / name / "defaults.svg").read_text() for name in ("one", "other"))
    assert one == other
    assert "forwardpass (balanced) (2.75)" in one
    assert "critical difference 4.31" in one
