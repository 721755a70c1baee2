"""What the page says of a compression: the real one's figures, and made-up ones' sentences."""

import gzip
import re
from dataclasses import replace

import pytest

from serving.bundle import CompressionCandidate, CompressionSummary, MetricDrop
from trainer.compress.int8_overflow import has_int8_overflow
from trainer.report.blocks import Cell, FigureRow, Paragraph, TableBlock
from trainer.report.sections.build_compression_section import FEW, build_compression_section
from trainer.report.sections.build_variants_section import build_variants_section


def text(cell):
    return cell.text if isinstance(cell, Cell) else cell


def tones(row):
    return [cell.tone if isinstance(cell, Cell) else "" for cell in row]


def of(section, kind):
    return [block for block in section.blocks if isinstance(block, kind)]


def candidate(name="int8", **changes):
    """One that was kept, of half the size and of a dense one's speed, but for the changes."""
    held = {
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
    return CompressionCandidate(name=name, **held | changes)


DENSE = candidate("fp32", bits=32, size_bytes=10_000)


@pytest.fixture
def told(made):
    """The section of a compression, given what was tried beside the dense variant."""
    evidence = made("diabetes").evidence

    def tell(*tried, max_drop=0.01):
        found = CompressionSummary(metric="r2", max_drop=max_drop, tried=[DENSE, *tried])
        manifest = evidence.manifest.model_copy(update={"compression": found})
        return build_compression_section(replace(evidence, bundle=replace(evidence.bundle, manifest=manifest)))

    return tell


def words(section):
    return " ".join(block.text for block in of(section, Paragraph))


@pytest.mark.slow
def test_kept_variants_have_the_figures_of_their_files(compressed):
    bundle = compressed.bundle
    table = of(build_compression_section(compressed.evidence), TableBlock)[0]
    content = {name: bundle.read_graph(name) for name in bundle.manifest.variants}
    rows = {text(row[0]): [*map(text, row)] for row in table.rows}
    assert set(rows) == set(content)
    for name, row in rows.items():
        shown = dict(zip(table.head, row, strict=True))
        assert shown["size"] in (f"{len(content[name]):,} B", f"{len(content[name]) / 1e3:.0f} kB")
        assert shown["gzip"] == f"{len(gzip.compress(content[name], mtime=0)):,} B"
        smaller = len(content["fp32"]) / len(content[name])
        assert float(shown["×\xa0smaller"]) == pytest.approx(smaller, abs=0.051)
        assert int(shown["bits"]) == bundle.manifest.variants[name].bits
    before, after = (
        float(dict(zip(table.head, rows[name], strict=True))["µs at\xa064"])
        for name in ("fp32", "int8")
    )
    faster = dict(zip(table.head, rows["int8"], strict=True))["×\xa0faster at\xa064"]
    assert float(faster) == pytest.approx(before / after, abs=0.06)


@pytest.mark.slow
def test_every_trial_is_a_row_and_stands_out_as_it_fared(compressed):
    found = compressed.bundle.manifest.compression
    first, rest, _ = of(build_compression_section(compressed.evidence), TableBlock)
    assert len(found.tried) > FEW
    assert first.folded == ""
    assert rest.folded == f"{len(rest.rows)} more that were tried"
    layers = sorted(text(row[2]) for row in [*first.rows, *rest.rows])
    assert layers == sorted("-".join(map(str, [c.inputs, *c.hidden])) for c in found.tried)
    assert set(tones(first.rows[0])) == {""}
    assert all(set(tones(row)) == {"good"} for row in first.rows[1:])
    assert "fails" in {text(row[-1]) for row in rest.rows}
    for row in rest.rows:
        lost, error = map(float, text(row[-2]).replace("−", "-").split("±"))
        fails = lost + error > found.max_drop
        assert text(row[-1]) in (["fails"] if fails else ["holds", "refuted"])
        stands_out = text(row[-1]) != "holds"
        assert tones(row)[-2:] == (["bad", "bad"] if stands_out else ["", ""])
        assert not any(tones(row)[:-2])


@pytest.mark.slow
def test_few_trials_are_one_table_in_their_order(told):
    tried = (
        candidate("pruned", kept=False, drop=0.02),
        candidate("int8", kept=False, drop=0.01),
        candidate(),
    )
    (table,) = of(told(*tried), TableBlock)
    assert [text(row[0]) for row in table.rows] == ["fp32", "pruned", "int8", "int8"]
    assert [text(row[-1]) for row in table.rows] == ["kept", "fails", "holds", "kept"]
    assert set(tones(table.rows[2])) == {""}
    assert "twice" in table.caption


@pytest.mark.slow
def test_it_says_what_was_allowed_kept_and_saved(told):
    section = told(
        candidate(latency_us={"1": 10, "64": 5}),
        candidate("pruned", size_bytes=2_000, latency_us={"1": 10, "64": 8}),
        candidate("pruned-int8", kept=False, drop=0.5),
        max_drop=0.002,
    )
    assert words(section) == (
        "Its R² was allowed to drop by up to 0.002 on the validation rows; of 3 trials, 2 were "
        "kept beside fp32: int8 and pruned. The smallest file is that of pruned, 5.0 × smaller "
        "than fp32's; "
        "the fastest at batch 64 is int8, 4.0 × faster."
    )


@pytest.mark.slow
def test_it_says_where_nothing_is_saved(told):
    assert "of 1 trial, 0 were kept." in words(told(candidate(kept=False)))
    slow = {"1": 13.0, "64": 20.5}
    said = words(told(candidate(size_bytes=10_100, latency_us=slow)))
    assert "No file is smaller than fp32's; none is faster at batch 64." in said
    assert said.endswith("At batch 1, int8 did not pay: slower than fp32.")
    slower = candidate("pruned-int8", latency_us={"1": 13.0, "64": 30.0})
    said = words(told(candidate(latency_us=slow), slower))
    assert "At batch 1, int8 did not pay" in said
    assert "At batch 1 and 64, pruned-int8 did not pay" in said
    refused = candidate(latency_us=slow, kept=False)
    assert "did not pay" not in words(told(refused))


@pytest.mark.slow
def test_zeros_are_not_said_to_save_more_than_they_do(told):
    zeros = "zeros save compressed size only, neither the file's own size nor time"
    assert zeros in words(told(candidate("sparse", bits=32, size_bytes=10_000)))
    assert zeros in words(told(candidate("sparse", bits=32, kept=False, drop=0.4)))
    assert zeros not in words(told(candidate()))


def test_the_test_rows_have_a_say(told):
    section = told(
        candidate("pruned", tested=MetricDrop(drop=0.005, interval=(-0.01, 0.05))),
        candidate(tested=MetricDrop(drop=-0.001, interval=(-0.004, 0.01))),
        candidate("pruned-int8", kept=False, tested=MetricDrop(drop=0.2, interval=(0.1, 0.3))),
    )
    table = of(section, TableBlock)[-1]
    assert [[*map(text, row)][2:] for row in table.rows] == [
        ["0.0050", "−0.0100 to 0.0500", "perhaps", "kept"],
        ["−0.0010", "−0.0040 to 0.0100", "surely", "kept"],
        ["0.2000", "0.1000 to 0.3000", "surely not", "refuted"],
    ]
    assert [tones(row)[-1] for row in table.rows] == ["good", "good", "bad"]


@pytest.mark.slow
def test_kept_ones_are_named_in_the_drawings_and_the_budget_is(told):
    section = told(
        candidate(), candidate("pruned", kept=False, drop=0.5), candidate("sparse", bits=32)
    )
    (figures,) = of(section, FigureRow)
    assert len(figures.figures) == 2
    for figure in figures.figures:
        shown = re.findall(r"<text[^>]*>([^<]*)</text>", figure.svg)
        assert {"fp32", "int8", "sparse", "allowed: 0.01", "32 bits", "8 bits"} <= set(shown)
        assert "pruned" not in shown
        assert "0.5" not in shown  # what loses so much is at the edge and squeezes nothing


def test_what_was_not_timed_is_not_said_to_be_fast(told):
    section = told(candidate(latency_us={}))
    assert "none is faster at batch 64" in words(section)
    assert len(of(section, FigureRow)[0].figures) == 1
    row = of(section, TableBlock)[0].rows[1]
    assert [*map(text, row)][7:10] == ["–"] * 3


def test_nothing_to_lose_can_be_drawn(told):
    section = told(candidate(), candidate("pruned", drop=-0.01), max_drop=0)
    assert "allowed to drop by up to 0 on" in words(section)
    assert len(of(section, FigureRow)[0].figures) == 2


def test_without_a_compression_it_says_what_makes_one(made):
    (said,) = build_compression_section(made("diabetes").evidence).blocks
    assert said.tone == "quiet"
    assert "trainer compress models/diabetes" in said.text


def test_variants_are_listed_with_the_bits_of_their_weights(compressed):
    table = of(build_variants_section(compressed.evidence), TableBlock)[0]
    assert table.head[2] == "bits"
    expected = {name: str(v.bits) for name, v in compressed.bundle.manifest.variants.items()}
    assert {row[0]: row[2] for row in table.rows} == expected
    assert {"32", "7" if has_int8_overflow() else "8"} <= set(expected.values())
