"""Tests of the compression section, with a real compression and with constructed candidates."""

import gzip
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest

from serving.bundle import CompressionCandidate, CompressionSummary, MetricDrop
from tests.manifests import make_manifest
from trainer.compress.int8_overflow import has_int8_overflow
from trainer.report.blocks import Cell, FigureRow, Paragraph, TableBlock
from trainer.report.sections.compression import (
    MAX_UNFOLDED_ROWS,
    build_compression_section,
)
from trainer.report.sections.variants import build_variants_section


def get_text(cell):
    return cell.text if isinstance(cell, Cell) else cell


def get_tones(row):
    return [cell.tone if isinstance(cell, Cell) else "" for cell in row]


def select_blocks(section, kind):
    return [block for block in section.blocks if isinstance(block, kind)]


def make_candidate(name="int8", **changes):
    """Return a kept candidate with half the size and the speed of `DENSE`, except for `changes`."""
    values = {
        "bits": 8,
        "inputs": 4,
        "hidden": [8, 6],
        "parameters": 120,
        "size_bytes": 5_000,
        "zipped_bytes": 900,
        "latency_us": {"1": 10.0, "64": 20.0},
        "validation": 0.9,
        "drop": 0.0,
        "kept": True,
    }
    return CompressionCandidate(name=name, **values | changes)


DENSE = make_candidate("fp32", bits=32, size_bytes=10_000)


@pytest.fixture
def build_section(train_example):
    """Return a function that builds the section from candidates other than `DENSE`."""
    inputs = train_example("diabetes").inputs

    def build(*tried, max_drop=0.01):
        result = CompressionSummary(metric="r2", max_drop=max_drop, tried=[DENSE, *tried])
        manifest = inputs.manifest.model_copy(update={"compression": result})
        return build_compression_section(
            replace(inputs, bundle=replace(inputs.bundle, manifest=manifest))
        )

    return build


def join_paragraphs(section):
    return " ".join(block.text for block in select_blocks(section, Paragraph))


@pytest.mark.slow
def test_compression_table_matches_files_of_variants(compressed_example):
    bundle = compressed_example.bundle
    table = select_blocks(build_compression_section(compressed_example.inputs), TableBlock)[0]
    content = {name: bundle.read_graph(name) for name in bundle.manifest.variants}
    rows = {get_text(row[0]): [*map(get_text, row)] for row in table.rows}
    assert set(rows) == set(content)
    for name, row in rows.items():
        labels = dict(zip(table.head, row, strict=True))
        assert labels["size"] in (f"{len(content[name]):,} B", f"{len(content[name]) / 1e3:.0f} kB")
        assert labels["gzip"] == f"{len(gzip.compress(content[name], mtime=0)):,} B"
        smaller = len(content["fp32"]) / len(content[name])
        assert float(labels["×\xa0smaller"]) == pytest.approx(smaller, abs=0.051)
        assert int(labels["bits"]) == bundle.manifest.variants[name].bits
    before, after = (
        float(dict(zip(table.head, rows[name], strict=True))["µs at\xa064"])
        for name in ("fp32", "int8")
    )
    faster = dict(zip(table.head, rows["int8"], strict=True))["×\xa0faster at\xa064"]
    assert float(faster) == pytest.approx(before / after, abs=0.06)


@pytest.mark.slow
def test_compression_many_candidates_are_rows_coloured_by_outcome(compressed_example):
    result = compressed_example.bundle.manifest.compression
    first, rest, _ = select_blocks(build_compression_section(compressed_example.inputs), TableBlock)
    assert len(result.tried) > MAX_UNFOLDED_ROWS
    assert first.folded == ""
    assert rest.folded == f"{len(rest.rows)} other candidates"
    layers = sorted(get_text(row[2]) for row in [*first.rows, *rest.rows])
    assert layers == sorted("-".join(map(str, [c.inputs, *c.hidden])) for c in result.tried)
    assert set(get_tones(first.rows[0])) == {""}
    assert all(set(get_tones(row)) == {"good"} for row in first.rows[1:])
    assert "over budget" in {get_text(row[-1]) for row in rest.rows}
    for row in rest.rows:
        drop, error = map(float, get_text(row[-2]).replace("−", "-").split("±"))
        is_over_budget = drop + error > result.max_drop
        assert get_text(row[-1]) in (
            ["over budget"] if is_over_budget else ["within budget", "rejected on test rows"]
        )
        is_coloured = get_text(row[-1]) != "within budget"
        assert get_tones(row)[-2:] == (["bad", "bad"] if is_coloured else ["", ""])
        assert not any(get_tones(row)[:-2])


@pytest.mark.slow
def test_compression_few_candidates_are_one_table(build_section):
    tried = (
        make_candidate("pruned", kept=False, drop=0.02),
        make_candidate("int8", kept=False, drop=0.01),
        make_candidate(),
    )
    (table,) = select_blocks(build_section(*tried), TableBlock)
    assert [get_text(row[0]) for row in table.rows] == ["fp32", "pruned", "int8", "int8"]
    assert [get_text(row[-1]) for row in table.rows] == [
        "kept",
        "over budget",
        "within budget",
        "kept",
    ]
    assert set(get_tones(table.rows[2])) == {""}
    assert "twice" in table.caption


@pytest.mark.slow
def test_compression_text_describes_budget_and_savings(build_section):
    section = build_section(
        make_candidate(latency_us={"1": 10, "64": 5}),
        make_candidate("pruned", size_bytes=2_000, latency_us={"1": 10, "64": 8}),
        make_candidate("pruned-int8", kept=False, drop=0.5),
        max_drop=0.002,
    )
    assert join_paragraphs(section) == (
        "The R² was allowed to drop by up to 0.002 on the validation rows. Of 3 candidates, 2 were "
        "kept in addition to fp32: int8 and pruned. The smallest file is that of pruned, 5.0 × "
        "smaller than fp32; the fastest at batch size 64 is int8, 4.0 × faster."
    )


@pytest.mark.slow
def test_compression_nothing_saved_is_described(build_section):
    assert "Of 1 candidate, 0 were kept." in join_paragraphs(
        build_section(make_candidate(kept=False))
    )
    slow = {"1": 13.0, "64": 20.5}
    text = join_paragraphs(build_section(make_candidate(size_bytes=10_100, latency_us=slow)))
    assert "No file is smaller than that of fp32; none is faster at batch size 64." in text
    assert text.endswith("At batch size 1, int8 is slower than fp32.")
    slower = make_candidate("pruned-int8", latency_us={"1": 13.0, "64": 30.0})
    text = join_paragraphs(build_section(make_candidate(latency_us=slow), slower))
    assert "At batch size 1, int8 is slower" in text
    assert "At batch size 1 and 64, pruned-int8 is slower" in text
    refused = make_candidate(latency_us=slow, kept=False)
    assert "slower" not in join_paragraphs(build_section(refused))


@pytest.mark.slow
def test_compression_sparse_variant_explains_its_savings(build_section):
    zeros = "This reduces the compressed size only, not the file size and not the time"
    assert zeros in join_paragraphs(
        build_section(make_candidate("sparse", bits=32, size_bytes=10_000))
    )
    assert zeros in join_paragraphs(
        build_section(make_candidate("sparse", bits=32, kept=False, drop=0.4))
    )
    assert zeros not in join_paragraphs(build_section(make_candidate()))


def test_compression_drops_on_test_rows_are_tabulated(build_section):
    section = build_section(
        make_candidate("pruned", tested=MetricDrop(drop=0.005, interval=(-0.01, 0.05))),
        make_candidate(tested=MetricDrop(drop=-0.001, interval=(-0.004, 0.01))),
        make_candidate("pruned-int8", kept=False, tested=MetricDrop(drop=0.2, interval=(0.1, 0.3))),
    )
    table = select_blocks(section, TableBlock)[-1]
    assert [[*map(get_text, row)][2:] for row in table.rows] == [
        ["0.0050", "−0.0100 to 0.0500", "uncertain", "kept"],
        ["−0.0010", "−0.0040 to 0.0100", "yes", "kept"],
        ["0.2000", "0.1000 to 0.3000", "no", "rejected on test rows"],
    ]
    assert [get_tones(row)[-1] for row in table.rows] == ["good", "good", "bad"]


@pytest.mark.slow
def test_compression_plots_label_kept_variants_and_budget(build_section):
    section = build_section(
        make_candidate(),
        make_candidate("pruned", kept=False, drop=0.5),
        make_candidate("sparse", bits=32),
    )
    (figures,) = select_blocks(section, FigureRow)
    assert len(figures.figures) == 2
    for figure in figures.figures:
        labels = re.findall(r"<text[^>]*>([^<]*)</text>", figure.svg)
        assert {"fp32", "int8", "sparse", "allowed: 0.01", "32 bits", "8 bits"} <= set(labels)
        assert "pruned" not in labels
        assert "0.5" not in labels  # larger drops are drawn at the edge and do not change the scale


def test_compression_variant_without_times_is_not_compared(build_section):
    section = build_section(make_candidate(latency_us={}))
    assert "none is faster at batch size 64" in join_paragraphs(section)
    assert len(select_blocks(section, FigureRow)[0].figures) == 1
    row = select_blocks(section, TableBlock)[0].rows[1]
    assert [*map(get_text, row)][7:10] == ["–"] * 3


def test_compression_zero_budget_is_plotted(build_section):
    section = build_section(make_candidate(), make_candidate("pruned", drop=-0.01), max_drop=0)
    assert "allowed to drop by up to 0 on" in join_paragraphs(section)
    assert len(select_blocks(section, FigureRow)[0].figures) == 2


def test_compression_missing_names_the_command(train_example):
    (text,) = build_compression_section(train_example("diabetes").inputs).blocks
    assert text.tone == "muted"
    assert "trainer compress models/diabetes" in text.text


def test_variants_table_lists_bits_per_weight(compressed_example):
    table = select_blocks(build_variants_section(compressed_example.inputs), TableBlock)[0]
    assert table.head[2] == "bits per weight"
    expected = {
        name: str(v.bits) for name, v in compressed_example.bundle.manifest.variants.items()
    }
    assert {row[0]: row[2] for row in table.rows} == expected
    assert {"32", "7" if has_int8_overflow() else "8"} <= set(expected.values())


def test_compression_metric_names_the_positive_class():
    tried = [
        DENSE,
        make_candidate("int8", tested=MetricDrop(drop=0, interval=(0, 0))),
    ]
    result = CompressionSummary(metric="positive_f1", max_drop=0.01, tried=tried)
    manifest = make_manifest({}, classes=("fraud", "good"), positive="fraud", compression=result)
    page = repr(build_compression_section(SimpleNamespace(manifest=manifest)))
    assert "The F1 of “fraud” was allowed to drop" in page
    assert "Drop of the F1 of “fraud” on the test rows: one variant per line" in page
    assert "of the positive class" not in page
