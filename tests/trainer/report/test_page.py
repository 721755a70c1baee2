"""Tests of the HTML of the report."""

import re
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn import metrics

from trainer.cli import main
from trainer.report import ReportInputs, render
from trainer.report.formatting import LOWER_IS_BETTER

FIRST = ["summary", "data", "training"]
LAST = [
    "importance",
    "errors",
    "slices",
    "layers",
    "parity",
    "variants",
    "compression",
    "provenance",
]
CLASSIFICATION = [*FIRST, "confusion", "curves", "calibration", *LAST]
REGRESSION = [*FIRST, "residuals", *LAST]
VOID_ELEMENTS = {"meta", "link", "br", "img", "hr", "input"}


class ParsedPage(HTMLParser):
    """Parsed elements, URLs, text and tables of a page; asserts that all elements are closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.addresses, self.ids = [], [], [], []
        self.sections, self.tables, self.words, self.styles = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID_ELEMENTS:
            self.open.append(tag)
        self.record(tag, dict(attrs))

    def handle_startendtag(self, tag, attrs):
        self.record(tag, dict(attrs))

    def record(self, tag, attrs):
        self.elements.append((tag, attrs))
        self.addresses += [attrs[n] for n in ("src", "href", "xlink:href", "action") if n in attrs]
        self.addresses += re.findall(r"url\(([^)]*)\)", " ".join(v or "" for v in attrs.values()))
        if "id" in attrs:
            self.ids.append(attrs["id"])
        if tag == "section":
            self.sections.append(attrs["id"])
        if tag == "table":
            self.tables.append((self.sections[-1], []))
        if tag == "tr":
            self.tables[-1][1].append([])
        if tag in ("th", "td"):
            self.tables[-1][1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            self.styles.append(data)
            return
        self.words.append(data)
        if self.open and self.open[-1] in ("th", "td"):
            self.tables[-1][1][-1][-1] += data

    def get_tables(self, section):
        return [rows for name, rows in self.tables if name == section]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "sections"),
    [
        ("tumours", CLASSIFICATION),
        ("digits", CLASSIFICATION),
        ("mixed", CLASSIFICATION),
        ("diabetes", REGRESSION),
        ("physique", REGRESSION),
    ],
)
def test_render_has_all_sections_and_no_external_resources(train_example, kind, sections):
    text = train_example(kind).page
    page = ParsedPage(text)
    assert page.sections == sections
    inside = [a for a in page.addresses if a.startswith(("#", "data:image/png;base64,"))]
    assert page.addresses == inside
    assert {a[1:] for a in inside if a.startswith("#")} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert not re.search(r"https?:|//[a-z]|@import", text)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "form"}
    assert not any(name.startswith("on") for _, attrs in page.elements for name in attrs)
    assert "url(" not in "".join(page.styles)
    assert len(text.encode()) < 1_500_000


@pytest.mark.slow
def test_render_compressed_version_has_all_sections(compressed_example):
    page = ParsedPage(compressed_example.page)
    assert page.sections == CLASSIFICATION
    frontier, others, confirmations = page.get_tables("compression")
    tried = compressed_example.bundle.manifest.compression.tried
    assert len(frontier) - 1 + len(others) - 1 == len(tried)
    assert {row[0] for row in frontier[1:]} == {c.name for c in tried if c.kept}
    assert {row[0] for row in confirmations[1:]} >= {c.name for c in tried[1:] if c.kept}
    assert {len(row) for row in frontier + others} == {15}
    assert "This section needs the test rows" not in "".join(page.words)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mixed", "digits", "physique"])
def test_render_figures_and_tables_have_titles_and_captions(train_example, kind):
    page = train_example(kind).page
    figures = re.findall(r"<figure(?: [^>]*)?>(.*?)</figure>", page, re.DOTALL)
    plots = [figure for figure in figures if "<svg" in figure]
    tables = [figure for figure in figures if "<table" in figure]
    assert len(plots) >= 6
    assert len(tables) == page.count("<table") >= 8
    for figure in figures:
        title = re.search(r'<p class="title">([^<]+)</p>', figure)[1]
        assert re.search(r'role="(img|group)" aria-label="([^"]+)" tabindex="0"', figure)[2]
        assert len(title) > 8
    for plot in plots:
        assert len(re.search(r"<figcaption>(.*?)</figcaption>", plot, re.DOTALL)[1]) > 40
    titles = re.findall(r'<p class="title">([^<]+)</p>', page)
    assert len(titles) == len(set(titles))
    for table in tables:  # its title says what its rows are
        title = re.search(r'<p class="title">([^<]+)</p>', table)[1]
        assert re.search(r"\bone [a-z ]+ per line\b|\bone per line", title), title
        head = re.search(r"<thead>(.*?)</thead>", table, re.DOTALL)[1]
        assert head.count("<th ") == head.count('scope="col"') > 1
        assert table.count("<tr>") - 1 == table.count('scope="row"')
    levels = [int(level) for level in re.findall(r"<h([1-6])", page)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


@pytest.mark.slow
def test_render_option_not_given_shows_what_was_chosen(train_example):
    manifest = train_example("digits").bundle.manifest
    page = train_example("digits").page
    assert manifest.training.config["target"] is None
    assert "<dt>--target</dt><dd>target (chosen, not given)</dd>" in page
    assert not re.search(r"<dd>(–|\[\]|null|None)</dd>", page)
    unset = re.search(r"Not set: (.*?)</p>", page, re.DOTALL)[1]
    assert "--group" in unset
    assert "--target" not in unset


def test_render_html_in_data_is_escaped(train_example, evil):
    text = train_example("mixed").page
    words = "".join(ParsedPage(text).words)
    assert evil not in text
    assert evil in words
    assert "a & <b>b</b>" in words
    assert "<b>b</b>" not in text
    assert "$\\frac$" in words  # not set as a formula
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@pytest.mark.parametrize("kind", ["tumours", "digits", "mixed"])
def test_render_confusion_matrix_matches_scikit_learn(train_example, kind):
    trained = train_example(kind).trained
    rows = trained.split.test
    label = trained.model.answers(trained.table.records.take(rows))["label"]
    expected = metrics.confusion_matrix(trained.table.target[rows], label)
    matrix, classes = ParsedPage(train_example(kind).page).get_tables("confusion")
    result = [[int(cell) for cell in row[1:-1]] for row in matrix[1:]]
    np.testing.assert_array_equal(result, expected)
    assert [int(row[-1]) for row in matrix[1:]] == expected.sum(axis=1).tolist()
    report = metrics.classification_report(
        trained.table.target[rows], label, output_dict=True, zero_division=0
    )
    for row in classes[1:]:
        if kind == "mixed" and row[0] not in report:
            continue  # the name is cut
        assert float(row[1]) == pytest.approx(report[row[0]]["precision"], abs=5e-5)
        assert float(row[2]) == pytest.approx(report[row[0]]["recall"], abs=5e-5)


def test_render_metrics_match_manifest(train_example):
    manifest = train_example("tumours").bundle.manifest
    table, _ = ParsedPage(train_example("tumours").page).get_tables("summary")
    assert table[0][:3] == ["metric", "this network", "95 % interval"]
    assert len(table) - 1 == len(manifest.metrics["test"])
    for row, (name, figure) in zip(table[1:], manifest.metrics["test"].items(), strict=True):
        assert float(row[1]) == pytest.approx(figure, abs=5e-5)
        low, high = map(float, row[2].split(" to "))
        assert (low, high) == pytest.approx(manifest.intervals[name], abs=5e-5)
        for cell, baseline in zip(row[3:], manifest.baselines.values(), strict=True):
            value = baseline.metrics[name]
            assert float(cell.removesuffix(" ▲")) == pytest.approx(value, abs=5e-5)
            is_better = value < figure if name in LOWER_IS_BETTER else value > figure
            assert cell.endswith("▲") == is_better


def test_render_contains_provenance_and_columns(train_example):
    page = ParsedPage(train_example("mixed").page)
    words = "".join(page.words)
    manifest = train_example("mixed").bundle.manifest
    assert manifest.data.fingerprint in words
    for digest in train_example("mixed").bundle.checksums.values():
        assert digest in words
    for name in manifest.training.config:
        assert name.replace("_", "-") in words
    (columns,) = page.get_tables("data")
    assert [row[:2] for row in columns[1:]] == [[c.name, c.type] for c in manifest.inputs]
    assert "it was chosen on the validation rows for the aim “f1”" in words
    assert "passes its self-test on this machine" in words


def test_render_without_run_explains_missing_sections(train_example, tmp_path):
    for kind, sections in (("mixed", CLASSIFICATION), ("diabetes", REGRESSION)):
        inputs = ReportInputs.gather(train_example(kind).bundle, tmp_path)
        page = ParsedPage(render(inputs))
        assert page.sections == sections
        words = "".join(page.words)
        assert "This report was made from the bundle alone." in words
        assert f"{tmp_path}/{kind}/1, which does not exist" in words
        assert words.count("This section needs the test rows") == len(sections) - 3 - 5
        assert len(page.get_tables("summary")[0]) > 3


def test_gather_run_of_other_bundle_is_refused(train_example, tmp_path):
    (tmp_path / "tumours").mkdir()
    (tmp_path / "tumours" / "1").symlink_to(train_example("digits").run)
    inputs = ReportInputs.gather(train_example("tumours").bundle, tmp_path)
    assert inputs.run is None
    assert "expected the run that led to the graph" in inputs.run_error


@pytest.mark.slow
def test_render_same_inputs_give_same_page(train_example):
    assert render(train_example("diabetes").inputs) == train_example("diabetes").page


@pytest.mark.slow
def test_report_command_writes_the_page(train_example, tmp_path):
    def report(*arguments):
        return CliRunner().invoke(main, ["report", *map(str, arguments)])

    folder, page = train_example("tumours").bundle.path, tmp_path / "page.html"
    runs = train_example("tumours").config.runs
    result = report(folder.parent, "-o", page, "--runs", runs)
    assert result.exit_code == 0, result.output
    assert page.read_text() == train_example("tumours").page
    assert result.stdout.startswith(f"{page}: ")
    result = report(folder, "-o", page, "--runs", tmp_path)
    assert "warning: the report is incomplete: expected the folder" in result.stderr
    assert report(tmp_path, "-o", page).exit_code == 1
    assert report(folder, "-o", tmp_path / "page.pdf").exit_code == 2
