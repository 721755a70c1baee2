"""Figures on pages are those of benchmarks/results.

The results are read here without the program that writes the pages.
"""

import json
import re

import pytest

from tests.pages.markdown import DOCS, ROOT, get_name, read_page

GENERATED = [
    get_name(path) for path in (DOCS / "benchmarks.md", *(DOCS / "benchmarks").glob("*.md"))
]
METRICS = {"roc_auc": "ROC AUC", "r2": "R²", "accuracy": "accuracy"}
LINEAR, TREES = ("logistic_regression", "ridge"), ("gradient_boosting",)


def read_results(name):
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())["results"]


def read_rows(text):
    """Return the cells of each row of the first table of a text, without its heading."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    end = next((i for i in range(2, len(lines)) if lines[i].startswith("| ---")), len(lines) + 1)
    return [[c.strip(" *") for c in line.split("|")[1:-1]] for line in lines[2 : end - 1]]


def read_marked(path, name):
    return read_page(path).split(f"<!-- benchmarks: {name} -->")[1].split("<!-- end -->")[0]


def test_compression_page_table_equals_the_results():
    measured = set()
    for found in read_results("compress").values():
        for variant in found["variants"].values():
            speed = variant["speed"]
            times = (round(speed[size]["us"]) for size in ("1", "64"))
            measured.add((variant["bytes"], f"{variant['test']:.4f}", *times))
    rows = read_rows(read_marked("docs/compression.md", "compress"))
    assert len(rows) >= 15
    for row in rows:
        size = int(row[2].replace(",", "").removesuffix(" B"))
        assert (size, row[4].split()[-1], int(row[5]), int(row[6])) in measured, row


def test_throughput_page_server_table_equals_the_results():
    measured = {
        f"{round(side['requests_per_second']):,} ({side['p99_ms']:.1f})"
        for result in read_results("serve")
        for side in result["sides"].values()
    }
    text = read_page("docs/benchmarks/throughput.md").split("## All servers")[1].split("\n## ")[0]
    cells = re.findall(r"[\d,]+ \([\d.]+\)", text.split("\n\n")[2])
    assert len(cells) > 50
    assert set(cells) <= measured


def test_latency_page_rates_equal_the_results():
    measured = {
        f"{round(held['median']):,}"
        for result in read_results("load")
        for side in result["sides"].values()
        for held in side["held"].values()
    }
    rows = read_rows(read_page("docs/benchmarks/latency.md"))
    assert len(rows) == 12
    assert {cell.split()[0] for row in rows for cell in row[1:5]} <= measured


def test_readme_speed_table_equals_the_results():
    text = read_marked("README.md", "speed")
    workloads = {(r["network"], r["rows"], r["connections"]): r for r in read_results("serve")}
    shown = [workloads["light", 1, clients]["sides"] for clients in (1, 16, 64)]
    shown.append(workloads["light", 32, 8]["sides"])
    contenders = ("ours", "triton", "mosec", "fastapi", "mlserver")
    rows = read_rows(text)
    assert len(rows) == len(contenders)
    for row, name in zip(rows, contenders, strict=True):
        assert row[1:5] == [f"{sides[name]['requests_per_second']:,.0f}" for sides in shown]
        assert row[5] == f"{max(sides[name]['memory_mb'] for sides in shown):.0f} MB"


def test_readme_speed_text_names_every_faster_server():
    text = read_marked("README.md", "speed")
    slower = [
        f"{ratio['requests_per_second']['median']:.2f} ×"
        for result in read_results("serve")
        for name, ratio in result["ratios"].items()
        if re.fullmatch("ours / (triton|triton-binary|mosec.*|fastapi|mlserver)", name)
        and result["network"] == "light"
        and ratio["requests_per_second"]["median"] < 1
    ]
    assert slower
    assert sorted(re.findall(r"[\d.]+ ×", text)) == sorted(slower)
    assert "](docs/benchmarks/where-we-lose.md)" in text


def get_baseline(fit, names):
    return next(f"{fit['baselines'][name]:.3f}" for name in names if name in fit["baselines"])


def format_metric(fit):
    entry = next(iter(fit["metrics"].values()))
    low, high = entry["interval"]
    return f"{entry['value']:.3f} ({low:.3f}–{high:.3f})"


def test_readme_accuracy_table_equals_the_results():
    expected = [
        [
            f"{name}, {fits['default']['rows']['train']:,}",
            METRICS[next(iter(fits["default"]["metrics"]))],
            format_metric(fits["default"]),
            get_baseline(fits["default"], LINEAR),
            get_baseline(fits["default"], TREES),
        ]
        for name, fits in read_results("tables").items()
        if name != "breast_cancer"  # too small
    ]
    assert read_rows(read_marked("README.md", "accuracy")) == expected


def test_results_page_table_equals_the_results():
    rows = read_rows(read_marked("docs/results.md", "tables"))
    results = read_results("tables")
    assert [row[0].split(",")[0] for row in rows] == list(results)
    for row, fits in zip(rows, results.values(), strict=True):
        metric = METRICS[next(iter(fits["default"]["metrics"]))]
        assert row[1:3] == [
            f"{metric} {format_metric(fits['default'])}",
            format_metric(fits["tuned"]),
        ]
        assert row[4:6] == [get_baseline(fits["default"], names) for names in (LINEAR, TREES)]


def test_results_page_presets_are_those_of_the_page_they_link_to():
    shown = read_rows(read_marked("docs/results.md", "presets"))
    ratios = read_page("docs/benchmarks/default-networks.md").split("\n## All ratios\n")[1]
    by_pair = {(row[0], row[1]): row[2] for row in read_rows(ratios)}
    rivals = ("LightGBM", "CatBoost", "XGBoost", "HistGradientBoosting", "scikit-learn's MLP")
    assert [row[0] for row in shown] == ["`best`", "`balanced`", "`fast`"]
    for preset, *cells in shown:
        assert cells == [by_pair[preset, rival] for rival in rivals]


def test_results_page_commands_are_those_that_were_measured():
    text = read_page("docs/results.md").replace("\\\n", " ")
    commands = {" ".join(line.split()) for line in re.findall(r"^trainer .*$", text, re.MULTILINE)}
    for fits in read_results("tables").values():
        assert {fits["default"]["command"], fits["tuned"]["command"]} <= commands


def test_compression_page_commands_are_those_that_were_measured():
    text = read_page("docs/compression.md")
    for title in read_results("compress"):
        command = title.partition(": ")[2].partition(" (")[0]
        assert re.search(rf"^{re.escape(command)}$", text, re.MULTILINE), command


def test_generated_pages_are_found():
    assert len(GENERATED) == 9


@pytest.mark.parametrize("path", GENERATED)
def test_generated_page_begins_with_its_question(path):
    title, opening = read_page(path).split("\n\n")[:2]
    assert title.startswith("# ")
    assert "?" in opening
