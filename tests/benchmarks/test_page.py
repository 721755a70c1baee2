"""The benchmark pages and the figures on other pages are those of the results, with all losses."""

import copy
import json
import re
import shutil

import pytest
from click.testing import CliRunner

from benchmarks.machine import RESULTS, ROOT
from benchmarks.report import (
    defaults_tables,
    latency_tables,
    soak_tables,
    throughput_tables,
    training_tables,
)
from benchmarks.report.__main__ import main
from benchmarks.report.comparisons import compare_ratio, make_loss_table
from benchmarks.report.formatting import fill_marker, format_number, format_quartiles, format_table
from benchmarks.report.latency_tables import PUBLISHED
from benchmarks.report.pages import (
    MARKERS,
    fill_texts,
    list_comparisons,
    read_results,
    render_pages,
)

# Pages and the benchmark whose figures each has; the other pages summarize several.
PAGES = {
    "docs/benchmarks/training.md": "train",
    "docs/benchmarks/default-networks.md": "defaults",
    "docs/benchmarks/compression.md": "compress",
    "docs/benchmarks/throughput.md": "serve",
    "docs/benchmarks/latency.md": "load",
    "docs/benchmarks/robustness.md": "guarantees",
    "docs/benchmarks/soak.md": "soak",
}
SUMMARIES = ("docs/benchmarks.md", "docs/benchmarks/where-we-lose.md")
FILLED = ("README.md", "docs/results.md", "docs/compression.md")
MARKED = r"<!-- benchmarks: \w+ -->.*?<!-- end -->"


@pytest.fixture(scope="session")
def results():
    return read_results(RESULTS)


def make_rate(*rounds):
    low, median, high = sorted(rounds)
    return {
        "median": median,
        "low": low,
        "high": high,
        "rounds": list(rounds),
        "limited": median == 5100,
    }


def make_ratio(median, low, high):
    return {"median": median, "low": low, "high": high}


def make_probe(rate, p99):
    return {
        "rate": rate,
        "p50_ms": p99 / 2,
        "p99_ms": p99,
        "errors": 0,
        "held": p99 <= 100,
        "generator": False,
    }


@pytest.fixture
def load_result():
    """Return results of `make bench-load` in which FastAPI sustains no rate within 2 ms."""
    side = {
        "probes": [make_probe(2000, 3.5), make_probe(500, 1.5), make_probe(8000, 250.0)],
        "memory_mb": 131.7,
    }
    ours = {
        "2": make_rate(900, 1000, 1100),
        "5": make_rate(5000, 5100, 5200),
        "20": make_rate(7000, 7100, 7200),
        "100": make_rate(7400, 7500, 7600),
    }
    fastapi = ours | {"2": make_rate(0.0, 0.0, 0.0)}
    return {
        "benchmark": "load",
        "when": "2026-11-22T20:00:00+00:00",
        "minutes": 13.5,
        "commit": "abcdef0",
        "rounds": 3,
        "seconds_a_probe": 2.0,
        "connections": 64,
        "machine": {"cpu": "Test CPU", "cores": 2, "system": "Linux", "python": "3.11.7"},
        "libraries": {"numpy": "2.4.6"},
        "peers": {"fastapi": {"fastapi": "0.165.0"}, "mosec": {"mosec": "0.9.8"}},
        "client": {"name": "serving loadtest", "most_per_second": 31234.5, "priority": -5},
        "bounds_ms": [2, 5, 20, 100],
        "results": [
            {
                "load": "1 row, JSON",
                "rows": 1,
                "form": "json",
                "network": "light",
                "sides": {
                    "mosec": side | {"held": ours},
                    "ours": side | {"held": ours},
                    "fastapi": side | {"held": fastapi},
                },
                "ratios": {
                    "ours / fastapi": {
                        "2": make_ratio(None, None, None),
                        "5": make_ratio(2.1, 1.9, 2.4),
                        "20": make_ratio(1.1, 0.9, 1.2),
                        "100": make_ratio(1.5, 1.4, 1.6),
                    },
                    "ours / mosec": {
                        "2": make_ratio(0.81, 0.7, 0.9),
                        "5": make_ratio(0.97, 0.9, 1.1),
                        "20": make_ratio(1.2, 1.1, 1.3),
                        "100": make_ratio(1.2, 1.1, 1.3),
                    },
                    "ours / ours-int8": {"2": make_ratio(0.5, 0.4, 0.6)},
                },
            }
        ],
        "timeout_seconds": 2.0,
        "lowest_rate": 200.0,
        "failed": {},
        "agreement": [
            {
                "rows": 32,
                "users": 4,
                "workers": 1,
                "rounds": 5,
                "seconds": 2,
                "loadtest": {"requests_per_second": 1234.5, "p50_ms": 3.21},
                "wrk": {"requests_per_second": 1240.0, "p50_ms": 3.2},
                "ratio": {
                    "requests_per_second": make_ratio(0.99, 0.98, 1.01),
                    "p50_ms": make_ratio(1.01, 0.99, 1.02),
                },
            }
        ],
        "at": {"500": {"p50_ms": 0.61, "p99_ms": 1.93}, "1000": {"p50_ms": 0.64, "p99_ms": 2.4}},
    }


def make_drift(first, last, slope):
    return {
        "slope": slope,
        "low": slope - 1,
        "high": slope + 1,
        "first": first,
        "last": last,
        "hours": 0.3,
    }


@pytest.fixture
def soak_result():
    """Return results of `make soak` for a server that leaks."""
    constant = make_drift(67.0, 67.0, 0.0)
    return {
        "benchmark": "soak",
        "when": "2026-11-22T23:00:00+00:00",
        "minutes": 20.0,
        "commit": "fedcba9",
        "libraries": {"gunicorn": "27.0.1"},
        "server": "ours",
        "machine": {"cpu": "Test CPU", "cores": 2, "system": "Linux", "python": "3.11.7"},
        "rate": 400.0,
        "connections": 32,
        "figures": {
            "memory_mb": make_drift(180.0, 187.6, 25.3),
            "pss_mb": constant,
            "arbiter_mb": constant,
            "descriptors": constant,
            "threads": constant,
            "p50_ms": make_drift(1.21, 1.25, 3.5) | {"ratio": 1.033},
            "p99_ms": make_drift(7.4, 7.1, -2.0) | {"ratio": 0.959},
            "requests": 480_123,
            "refused": 48_012,
            "wrong": 0,
            "dropped": 3,
            "unexpected": {"503": 4},
            "windows": 80,
            "windows_in_doubt": 2,
            "workers_died": 0,
            "reloads": {"appears": 15, "rollback": 14},
            "failed_reloads": [],
            "faults": [],
        },
        "verdict": "the workers' memory grows by 25.3 MB an hour (24.3–26.3)",
        "series": {
            "samples": {"at": [5, 65, 125], "rss_mb": [180.0, 183.0, 187.6]},
            "windows": {"at": [7.5, 22.5], "p50_ms": [1.2, 1.3], "p99_ms": [7.4, 7.1]},
        },
    }


@pytest.fixture
def root_copy(tmp_path):
    """Return a copy of the README and the pages, which a test may change."""
    shutil.copy(ROOT / "README.md", tmp_path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    return tmp_path


def check(root):
    return CliRunner().invoke(main, ["--check", "--root", str(root)])


def split_cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def test_check_all_pages_agree_with_results():
    done = check(ROOT)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("name", [*FILLED, *SUMMARIES, *PAGES])
def test_check_changed_figure_is_refused(root_copy, name):
    path = root_copy / name
    text = path.read_text()
    start = re.search(MARKED, text, re.DOTALL).start() if name in FILLED else 0
    changed = text[:start] + re.sub(
        r"(\| [^|\n]*)\d(?=[^|\n]*\|$)", r"\1?", text[start:], flags=re.M
    )
    assert changed != text
    path.write_text(changed)
    done = check(root_copy)
    assert done.exit_code == 1
    assert name in done.output
    assert "make bench-page" in done.output


@pytest.mark.parametrize("name", ["docs/benchmarks/serve.svg", "docs/benchmarks/latency.md"])
def test_check_missing_file_is_refused(root_copy, name):
    (root_copy / name).unlink()
    done = check(root_copy)
    assert done.exit_code == 1
    assert name in done.output


@pytest.mark.parametrize("name", ["docs/benchmarks/load-rate-9.svg", "docs/benchmarks/speed.md"])
def test_check_file_no_longer_made_is_refused(root_copy, name):
    (root_copy / name).touch()
    done = check(root_copy)
    assert done.exit_code == 1
    assert name in done.output


@pytest.mark.slow
def test_main_writes_what_check_accepts(root_copy):
    (root_copy / "docs" / "benchmarks.md").unlink()
    shutil.rmtree(root_copy / "docs" / "benchmarks")
    (root_copy / "docs" / "benchmarks").mkdir()
    obsolete = root_copy / "docs" / "benchmarks" / "load-rate-9.svg"
    obsolete.touch()
    done = CliRunner().invoke(main, ["--root", str(root_copy)])
    assert done.exit_code == 0, done.output
    assert check(root_copy).exit_code == 0
    assert not obsolete.exists()


def test_pages_are_all_rendered(results):
    assert set(render_pages(results)) == {*PAGES, *SUMMARIES}
    assert set(MARKERS) == set(FILLED)


def test_overview_links_to_every_page(results):
    text = render_pages(results)["docs/benchmarks.md"]
    for path in {*PAGES, *SUMMARIES} - {"docs/benchmarks.md"}:
        assert f"]({path.removeprefix('docs/')})" in text


@pytest.mark.parametrize("name", FILLED)
def test_fill_texts_keeps_text_outside_the_markers(results, name):
    text = (ROOT / name).read_text()
    emptied = re.sub(r"(<!-- benchmarks: \w+ -->).*?(<!-- end -->)", r"\1\2", text, flags=re.DOTALL)
    assert emptied != text
    assert fill_texts({name: emptied}, results) == {name: text}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<!-- benchmarks: a -->",
        2 * "<!-- benchmarks: a -->\n<!-- end -->\n",
        "<!-- end --><!-- benchmarks: a -->",
    ],
)
def test_fill_marker_markers_not_there_once_raises(text):
    with pytest.raises(ValueError, match="expected one <!-- benchmarks: a -->"):
        fill_marker(text, "a", "table")


@pytest.mark.parametrize(("path", "name"), PAGES.items())
def test_pages_missing_results_name_their_command(path, name):
    target = "soak" if name == "soak" else f"bench-{name}"
    text = render_pages({})[path]
    assert f"There are no results yet; `make {target}` writes them." in text


def test_fill_texts_missing_results_name_their_command():
    text = "".join(f"<!-- benchmarks: {name} --><!-- end -->" for name in ("speed", "accuracy"))
    filled = fill_texts({"README.md": text}, {})["README.md"]
    assert "There are no results yet; `make bench-serve` writes them." in filled
    assert "There are no results yet; `make bench-tables` writes them." in filled


@pytest.mark.parametrize(("path", "name"), PAGES.items())
def test_pages_name_time_commit_and_versions(results, load_result, soak_result, path, name):
    shown = results | {"load": load_result, "soak": soak_result}
    pages, result = render_pages(shown), shown[name]
    for text in (pages[path], pages["docs/benchmarks.md"]):
        assert result["when"] in text
        assert f"`{result['commit']}`" in text
    for library, version in result.get("libraries", {}).items():
        assert f"| {library} | {version} |" in pages[path]


def test_latency_page_names_client_and_versions_of_other_servers(load_result):
    text = render_pages({"load": load_result})["docs/benchmarks/latency.md"]
    assert "31,234 requests/s" in " ".join(text.split())
    assert "| mosec | 0.9.8 |" in text


def list_worse_ratios(results):
    """Yield the ratios of ours to another project's whose median is worse than 1, from the JSON."""
    for name in ("train", "serve", "load"):
        for result in results.get(name, {}).get("results", []):
            for key, ratios in result["ratios"].items():
                ours, other = key.split(" / ")
                if not ours.startswith("ours") or other.startswith("ours"):
                    continue
                if other in ("constant", "products"):
                    continue
                by_measure = {"": ratios} if "median" in ratios else ratios
                for measure, ratio in by_measure.items():
                    median = ratio["median"]
                    if median is not None and (
                        median > 1 if measure.endswith(("_ms", "_mb")) else median < 1
                    ):
                        yield ratio


def test_loss_table_lists_every_ratio_in_which_another_is_ahead(results, load_result):
    everything = results | {"load": load_result}
    text = make_loss_table(list_comparisons(everything))
    listed = [
        split_cells(line)[5].removesuffix(" ×") for line in text.splitlines() if " × | " in line
    ]
    expected = [format_quartiles(ratio) for ratio in list_worse_ratios(everything)]
    assert len(expected) > 20
    for figure in set(expected):
        assert listed.count(figure) >= expected.count(figure), figure


def test_intel_ratios_are_on_the_training_page_and_among_the_losses(results):
    page = render_pages(results)["docs/benchmarks/training.md"]
    rows = {split_cells(line)[0]: split_cells(line) for line in page.split("\n\n")[2].splitlines()}
    losses = make_loss_table(list_comparisons(results))
    measured = results["train-intel"]["results"]
    assert len(measured) == 5
    for entry in measured:
        ratio = f"{entry['ratios']['ours / torch-fused']['median']:.2f}"
        case = f"{entry['name']}, batch {entry['batch']}"
        assert rows[case][-1] == ratio
        assert (f"| {case}, Intel Xeon |" in losses) is (float(ratio) < 1)


def test_loss_table_lists_a_loss_added_to_the_results(results):
    changed = copy.deepcopy(results)
    ratio = changed["serve"]["results"][0]["ratios"]["ours / ray"]["requests_per_second"]
    ratio.update(make_ratio(0.123, 0.111, 0.135))
    before, after = (make_loss_table(list_comparisons(r)) for r in (results, changed))
    assert "0.12 (0.11–0.14) × | behind" not in before
    assert (
        "| serving, closed loop | 1 row, 1 client | requests/s | forwardpass | Ray Serve "
        "| 0.12 (0.11–0.14) × | behind |"
    ) in after


@pytest.mark.parametrize(
    ("ratio", "is_more_better", "is_behind", "verdict"),
    [
        ((0.8, 0.7, 0.9), True, True, "behind"),
        ((0.8, 0.7, 1.1), True, True, "no difference shown"),
        ((1.2, 0.9, 1.4), True, False, "no difference shown"),
        ((1.2, 1.1, 1.4), False, True, "behind"),
        ((0.8, 0.7, 0.9), False, False, "behind"),
    ],
)
def test_compare_ratio_quartiles_decide_the_verdict(ratio, is_more_better, is_behind, verdict):
    comparison = compare_ratio(
        make_ratio(*ratio),
        is_more_better=is_more_better,
        benchmark="",
        workload="",
        measure="",
        ours="ours",
        other="ray",
    )
    assert comparison.is_behind is is_behind
    if is_behind or comparison.is_undecided:
        assert comparison.verdict == verdict


def test_loss_table_lists_the_losses_of_compression(results):
    listed = make_loss_table(list_comparisons(results))
    for title, result in results["compress"]["results"].items():
        for name, variant in result["variants"].items():
            if variant["lost"] and variant["lost"]["interval"][0] > 0:
                drop = f"lost {variant['lost']['drop']:.4f} ("
                network = title.split(":")[0]
                assert any(
                    network in line and f"`{name}`" in line and drop in line and "behind" in line
                    for line in listed.splitlines()
                ), (title, name)


def test_latency_summary_shows_rates_with_quartiles(load_result):
    lines = latency_tables.make_summary_table(load_result).splitlines()
    assert split_cells(lines[0])[1:] == [
        "p99 ≤ 2 ms",
        "p99 ≤ 5 ms",
        "p99 ≤ 20 ms",
        "p99 ≤ 100 ms",
        "MB",
    ]
    rows = {split_cells(line)[0]: split_cells(line)[1:] for line in lines[2:]}
    assert list(rows) == ["**forwardpass**", "Mosec", "FastAPI + uvicorn"]
    assert rows["**forwardpass**"][0] == "1,000 (900–1,100)"
    assert rows["FastAPI + uvicorn"][0] == "0"
    assert rows["Mosec"][4] == "132"


def test_latency_ratio_to_a_rate_of_0_is_a_dash(load_result):
    line = next(
        x
        for x in render_pages({"load": load_result})["docs/benchmarks/latency.md"].splitlines()
        if "forwardpass / FastAPI" in x
    )
    assert split_cells(line)[1:3] == ["–", "2.10 (1.90–2.40)"]
    summary = latency_tables.make_range_summary(load_result)
    assert "| FastAPI + uvicorn | 1.10–2.10 |  |" in summary
    assert "| Mosec | 0.81–1.20 | p99 ≤ 2 ms: 0.81 (0.70–0.90); p99 ≤ 5 ms: 0.97" in summary


def test_latency_published_figures_have_both_machines(load_result):
    lines = render_pages({"load": load_result})["docs/benchmarks/latency.md"].splitlines()
    kserve = next(line for line in lines if "kserve/kserve/blob/19aa3c9" in line)
    assert "8 nodes n1-standard" in kserve
    assert split_cells(kserve)[3:5] == ["1.283 / 2.205", "8,658 / 20,307; 93.72 % answered"]
    ours = lines[lines.index(kserve) - 1]
    assert "Test CPU, 2 cores" in ours
    assert split_cells(ours)[3:6] == ["0.61 / 1.93", "0.64 / 2.4", "1,000 (900–1,100)"]


def test_page_soak_has_verdict_and_its_figures(soak_result):
    lines = render_pages({"soak": soak_result})["docs/benchmarks/soak.md"].splitlines()
    assert f"Verdict: **{soak_result['verdict']}**." in lines
    rows = {split_cells(line)[0]: split_cells(line)[1:] for line in lines if line.startswith("|")}
    assert rows["memory of the workers, MB"] == ["180", "188", "25.3 MB", "24.3 to 26.3"]
    assert rows["latency p50, ms"] == ["1.21", "1.25", "3.50 %", "2.50 to 4.50"]
    assert rows["requests"] == ["480,123"]
    assert rows["unexpected statuses"] == ["4 × 503"]
    assert rows["reloads"] == ["15 × appears, 14 × rollback"]
    leaking = render_pages({"soak": soak_result | {"server": "leaking"}})
    assert "leaks on purpose" in leaking["docs/benchmarks/soak.md"]


@pytest.mark.slow
def test_plots_same_results_give_the_same_files(results, load_result, soak_result, tmp_path):
    drawn = []
    for name in ("one", "other"):
        training_tables.draw(results["train"], tmp_path / name)
        defaults_tables.draw(results["defaults"], tmp_path / name)
        throughput_tables.draw(results["serve"], tmp_path / name)
        latency_tables.draw(load_result, tmp_path / name)
        soak_tables.draw(soak_result, tmp_path / name)
        drawn.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert drawn[0] == drawn[1]
    pages = render_pages(results | {"load": load_result, "soak": soak_result})
    shown = re.findall(r"\(([\w-]+\.svg)\)", "".join(pages.values()))
    assert set(shown) == set(drawn[0])


def test_formatting_keeps_three_digits():
    assert [format_number(v) for v in (0.814, 9.996, 11.29, 1234.5)] == [
        "0.81",
        "10.00",
        "11.3",
        "1,234",
    ]
    assert format_quartiles(make_ratio(1.456, 1.3, 12.71)) == "1.46 (1.30–12.7)"
    assert format_quartiles(None) == "–"
    assert format_table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --: |\n| 1 | 2 |"


def test_published_figures_have_a_source():
    found = json.loads(PUBLISHED.read_text())
    assert re.search(r"github\.com/kserve/kserve/blob/[0-9a-f]{40}/", found["source"])
