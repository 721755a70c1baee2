"""The page of the benchmarks says what the results say, all of it, and nothing else."""

import copy
import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.report import (
    latency_tables,
    soak_tables,
    throughput_tables,
    training_tables,
    where_we_lose,
)
from benchmarks.report.__main__ import compared, main, page, read, readme
from benchmarks.report.comparison import of_ratio
from benchmarks.report.markdown import filled, number, spread, table

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"


@pytest.fixture(scope="session")
def results():
    return read(RESULTS)


def held(*rounds):
    low, middle, high = sorted(rounds)
    return {
        "median": middle,
        "low": low,
        "high": high,
        "rounds": list(rounds),
        "limited": middle == 5100,
    }


def quotient(median, low, high):
    return {"median": median, "low": low, "high": high}


def probe(rate, p99):
    return {
        "rate": rate,
        "p50_ms": p99 / 2,
        "p99_ms": p99,
        "errors": 0,
        "held": p99 <= 100,
        "generator": False,
    }


@pytest.fixture
def measured():
    """What `make bench-load` would write: ours holds little within 2 ms, FastAPI nothing."""
    side = {"probes": [probe(2000, 3.5), probe(500, 1.5), probe(8000, 250.0)], "memory_mb": 131.7}
    ours = {
        "2": held(900, 1000, 1100),
        "5": held(5000, 5100, 5200),
        "20": held(7000, 7100, 7200),
        "100": held(7400, 7500, 7600),
    }
    theirs = ours | {"2": held(0.0, 0.0, 0.0)}
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
                    "fastapi": side | {"held": theirs},
                },
                "ratios": {
                    "ours / fastapi": {
                        "2": quotient(None, None, None),
                        "5": quotient(2.1, 1.9, 2.4),
                        "20": quotient(1.1, 0.9, 1.2),
                        "100": quotient(1.5, 1.4, 1.6),
                    },
                    "ours / mosec": {
                        "2": quotient(0.81, 0.7, 0.9),
                        "5": quotient(0.97, 0.9, 1.1),
                        "20": quotient(1.2, 1.1, 1.3),
                        "100": quotient(1.2, 1.1, 1.3),
                    },
                    "ours / ours-int8": {"2": quotient(0.5, 0.4, 0.6)},
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
                    "requests_per_second": quotient(0.99, 0.98, 1.01),
                    "p50_ms": quotient(1.01, 0.99, 1.02),
                },
            }
        ],
        "at": {"500": {"p50_ms": 0.61, "p99_ms": 1.93}, "1000": {"p50_ms": 0.64, "p99_ms": 2.4}},
    }


def drifting(first, last, slope):
    return {
        "slope": slope,
        "low": slope - 1,
        "high": slope + 1,
        "first": first,
        "last": last,
        "hours": 0.3,
    }


@pytest.fixture
def soaked():
    """What `make soak` would write of a server that leaks."""
    still = drifting(67.0, 67.0, 0.0)
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
            "memory_mb": drifting(180.0, 187.6, 25.3),
            "pss_mb": still,
            "arbiter_mb": still,
            "descriptors": still,
            "threads": still,
            "p50_ms": drifting(1.21, 1.25, 3.5) | {"ratio": 1.033},
            "p99_ms": drifting(7.4, 7.1, -2.0) | {"ratio": 0.959},
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
def copied(tmp_path):
    """The README and the page, where they may be spoiled."""
    shutil.copy(ROOT / "README.md", tmp_path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    return tmp_path


def checked(root):
    return CliRunner().invoke(main, ["--check", "--root", str(root)])


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def test_the_page_and_the_readme_are_what_the_results_say():
    done = checked(ROOT)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("name", ["README.md", "docs/benchmarks.md"])
def test_a_figure_that_was_typed_is_noticed(copied, name):
    path = copied / name
    text = path.read_text()
    typed = re.sub(r"(\*\*forwardpass\*\* \| )\d", r"\g<1>9", text)
    assert typed != text
    path.write_text(typed)
    done = checked(copied)
    assert done.exit_code == 1
    assert name in done.output
    assert "make bench-page" in done.output


def test_a_plot_that_is_missing_is_noticed(copied):
    (copied / "docs" / "benchmarks" / "serve.svg").unlink()
    done = checked(copied)
    assert done.exit_code == 1
    assert "docs/benchmarks/serve.svg" in done.output


@pytest.mark.slow
def test_writing_leaves_nothing_for_the_check(copied):
    (copied / "docs" / "benchmarks.md").unlink()
    shutil.rmtree(copied / "docs" / "benchmarks")
    done = CliRunner().invoke(main, ["--root", str(copied)])
    assert done.exit_code == 0, done.output
    assert checked(copied).exit_code == 0


def test_the_tables_of_the_readme_are_on_the_page(results):
    text = page(results)
    front = (ROOT / "README.md").read_text()
    for name in ("serve", "load", "compress"):
        shown = re.search(
            rf"<!-- benchmarks: {name} -->\n\n(.*?)\n\n<!-- end -->", front, re.DOTALL
        )
        assert shown[1] in text


def test_text_outside_the_markers_stays(results):
    front = (ROOT / "README.md").read_text()
    parts = r"<!-- benchmarks: \w+ -->.*?<!-- end -->"
    emptied = re.sub(
        r"(<!-- benchmarks: \w+ -->).*?(<!-- end -->)", r"\1\2", front, flags=re.DOTALL
    )
    assert re.split(parts, front, flags=re.DOTALL) == re.split(parts, emptied, flags=re.DOTALL)
    assert readme(emptied, results) == readme(front, results)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<!-- benchmarks: a -->",
        2 * "<!-- benchmarks: a -->\n<!-- end -->\n",
        "<!-- end --><!-- benchmarks: a -->",
    ],
)
def test_markers_that_are_not_there_once_are_refused(text):
    with pytest.raises(ValueError, match="expected one <!-- benchmarks: a -->"):
        filled(text, "a", "table")


def test_results_that_are_missing_are_asked_for():
    text = page({})
    for target in ("bench-train", "bench-compress", "bench-serve", "bench-load"):
        assert f"There are no results yet: `make {target}` makes them." in text
    assert "There are no results yet: `make soak` makes them." in text.split("## Soak\n")[1]
    assert "[What it loses](docs/benchmarks.md#what-we-lose)" in readme(
        (ROOT / "README.md").read_text(), {}
    )


def test_each_result_says_where_it_comes_from(results, measured, soaked):
    text = page(results | {"load": measured, "soak": soaked})
    for result in (results | {"load": measured, "soak": soaked}).values():
        assert result["when"] in text
        assert f"`{result['commit']}`" in text
        for name, version in result["libraries"].items():
            assert f"{name} {version}" in text
    assert "31,234 requests/s, priority -5" in text
    assert "mosec 0.9.8" in text
    assert text.count("mosec 0.9.8") == 2  # of serve once, for both of its sides, and of load


def worse(results):
    """Ratios of ours to another project's with a median worse than 1: walked over as plain JSON."""
    for name in ("train", "serve", "load"):
        for result in results.get(name, {}).get("results", []):
            for key, found in result["ratios"].items():
                mine, other = key.split(" / ")
                if not mine.startswith("ours") or other.startswith("ours"):
                    continue
                if other in ("constant", "products"):
                    continue
                flat = {"": found} if "median" in found else found
                for measure, ratio in flat.items():
                    middle = ratio["median"]
                    if middle is not None and (
                        middle > 1 if measure.endswith(("_ms", "_mb")) else middle < 1
                    ):
                        yield ratio


def test_every_ratio_in_which_another_is_ahead_is_listed(results, measured):
    everything = results | {"load": measured}
    text = where_we_lose.render(compared(everything)).split("And those in which")[0]
    listed = [cells(line)[5].removesuffix(" ×") for line in text.splitlines() if " × | " in line]
    expected = [spread(ratio) for ratio in worse(everything)]
    assert len(expected) > 20
    for figure in set(expected):
        assert listed.count(figure) >= expected.count(figure), figure


def test_a_loss_that_is_put_into_the_results_is_listed(results):
    spoiled = copy.deepcopy(results)
    ratio = spoiled["serve"]["results"][0]["ratios"]["ours / ray"]["requests_per_second"]
    ratio.update(quotient(0.123, 0.111, 0.135))
    before, after = (where_we_lose.render(compared(r)) for r in (results, spoiled))
    assert "0.12 (0.11–0.14) × | behind" not in before
    assert (
        "| serving, closed loop | 1 row, 1 client | requests/s | forwardpass | Ray Serve "
        "| 0.12 (0.11–0.14) × | behind |"
    ) in after


@pytest.mark.parametrize(
    ("ratio", "more_is_better", "behind", "verdict"),
    [
        ((0.8, 0.7, 0.9), True, True, "behind"),
        ((0.8, 0.7, 1.1), True, True, "no difference shown"),
        ((1.2, 0.9, 1.4), True, False, "no difference shown"),
        ((1.2, 1.1, 1.4), False, True, "behind"),
        ((0.8, 0.7, 0.9), False, False, "behind"),
    ],
)
def test_the_quartiles_decide_what_is_shown(ratio, more_is_better, behind, verdict):
    found = of_ratio(
        quotient(*ratio),
        more_is_better=more_is_better,
        benchmark="",
        where="",
        measure="",
        mine="ours",
        rival="ray",
    )
    assert found.behind is behind
    if behind or found.within:
        assert found.verdict == verdict


def test_what_compression_costs_is_listed(results):
    listed = where_we_lose.render(compared(results))
    for title, result in results["compress"]["results"].items():
        for name, variant in result["variants"].items():
            if variant["lost"] and variant["lost"]["interval"][0] > 0:
                drop = f"lost {variant['lost']['drop']:.4f} ("
                network = title.split(":")[0]
                assert any(
                    network in line and f"`{name}`" in line and drop in line and "behind" in line
                    for line in listed.splitlines()
                ), (title, name)


def test_the_rates_held_are_shown_with_their_quartiles(measured):
    lines = latency_tables.short(measured).splitlines()
    assert cells(lines[0])[1:] == ["p99 ≤ 2 ms", "p99 ≤ 5 ms", "p99 ≤ 20 ms", "p99 ≤ 100 ms", "MB"]
    rows = {cells(line)[0]: cells(line)[1:] for line in lines[2:]}
    assert list(rows) == ["**forwardpass**", "Mosec", "FastAPI, uvicorn"]
    assert rows["**forwardpass**"][0] == "1,000 (900–1,100)"
    assert rows["FastAPI, uvicorn"][0] == "0"
    assert rows["Mosec"][4] == "132"


def test_a_ratio_to_a_rate_of_0_is_left_open(measured):
    line = next(
        x for x in latency_tables.render(measured).splitlines() if "forwardpass / FastAPI" in x
    )
    assert cells(line)[1:3] == ["–", "2.10 (1.90–2.40)"]
    assert "1.10–2.10 × FastAPI, uvicorn" in latency_tables.sentence(measured)
    assert (
        "Below 1: Mosec, p99 ≤ 2 ms, 0.81 (0.70–0.90) ×; Mosec, p99 ≤ 5 ms"
        in latency_tables.sentence(measured)
    )


def test_what_kserve_publishes_stands_beside_ours_with_both_machines(measured):
    lines = latency_tables.render(measured).splitlines()
    kserve = next(line for line in lines if "kserve/kserve/blob/19aa3c9" in line)
    assert "8 nodes n1-standard" in kserve
    assert cells(kserve)[3:5] == ["1.283 / 2.205", "8,658 / 20,307; 93.72 % answered"]
    ours = lines[lines.index(kserve) - 1]
    assert "Test CPU, 2 cores" in ours
    assert cells(ours)[3:6] == ["0.61 / 1.93", "0.64 / 2.4", "1,000 (900–1,100)"]


def test_the_soak_says_its_verdict_and_what_it_rests_on(soaked):
    lines = soak_tables.render(soaked).splitlines()
    assert f"Verdict: **{soaked['verdict']}**." in lines
    rows = {cells(line)[0]: cells(line)[1:] for line in lines if line.startswith("|")}
    assert rows["memory of the workers, MB"] == ["180", "188", "25.3 MB", "24.3 to 26.3"]
    assert rows["latency p50, ms"] == ["1.21", "1.25", "3.50 %", "2.50 to 4.50"]
    assert rows["requests"] == ["480,123"]
    assert rows["unexpected statuses"] == ["4 × 503"]
    assert rows["reloads"] == ["15 × appears, 14 × rollback"]
    assert "leaks on purpose" in soak_tables.render(soaked | {"server": "leaking"})


@pytest.mark.slow
def test_plots_are_the_same_for_the_same_results(results, measured, soaked, tmp_path):
    drawn = []
    for name in ("one", "other"):
        training_tables.draw(results["train"], tmp_path / name)
        throughput_tables.draw(results["serve"], tmp_path / name)
        latency_tables.draw(measured, tmp_path / name)
        soak_tables.draw(soaked, tmp_path / name)
        drawn.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert drawn[0] == drawn[1]
    shown = re.findall(
        r"\(benchmarks/([\w-]+\.svg)\)", page(results | {"load": measured, "soak": soaked})
    )
    assert set(shown) == set(drawn[0])


def test_figures_keep_three_digits():
    assert [number(v) for v in (0.814, 9.996, 11.29, 1234.5)] == ["0.81", "10.00", "11.3", "1,234"]
    assert spread(quotient(1.456, 1.3, 12.71)) == "1.46 (1.30–12.7)"
    assert spread(None) == "–"
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --: |\n| 1 | 2 |"


def test_the_published_figures_have_a_source():
    found = json.loads((ROOT / "benchmarks" / "latency" / "published.json").read_text())
    assert re.search(r"github\.com/kserve/kserve/blob/[0-9a-f]{40}/", found["source"])
