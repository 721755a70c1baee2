"""The page as a reader's browser takes it."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn import metrics

from trainer.cli import main
from trainer.report import ReportInputs, render

COMMON = ["verdict", "data", "learning"]
ENDING = ["importance", "cases", "slices", "health", "parity", "variants", "compression", "origin"]
CLASSES = [*COMMON, "confusion", "curves", "calibration", *ENDING]
VALUES = [*COMMON, "values", *ENDING]
EMPTY = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """Elements, addresses and words of a page; refuses one whose elements do not close."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.addresses, self.ids = [], [], [], []
        self.sections, self.tables, self.words, self.styles = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in EMPTY:
            self.open.append(tag)
        self.note(tag, dict(attrs))

    def handle_startendtag(self, tag, attrs):
        self.note(tag, dict(attrs))

    def note(self, tag, attrs):
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

    def of(self, section):
        return [rows for name, rows in self.tables if name == section]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "sections"),
    [
        ("tumours", CLASSES),
        ("digits", CLASSES),
        ("mixed", CLASSES),
        ("diabetes", VALUES),
        ("physique", VALUES),
    ],
)
def test_every_section_is_there_and_nothing_is_asked_of_the_network(made, kind, sections):
    text = made(kind).page
    page = Page(text)
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
def test_a_compressed_version_has_all_of_it_too(compressed):
    page = Page(compressed.page)
    assert page.sections == CLASSES
    frontier, others, confirmations = page.of("compression")
    tried = compressed.bundle.manifest.compression.tried
    assert len(frontier) - 1 + len(others) - 1 == len(tried)
    assert {row[0] for row in frontier[1:]} == {c.name for c in tried if c.kept}
    assert {row[0] for row in confirmations[1:]} >= {c.name for c in tried[1:] if c.kept}
    assert {len(row) for row in frontier + others} == {15}
    assert "This needs the test rows" not in "".join(page.words)


def test_what_the_data_say_is_shown_and_never_run(made, evil):
    text = made("mixed").page
    words = "".join(Page(text).words)
    assert evil not in text
    assert evil in words
    assert "a & <b>b</b>" in words
    assert "<b>b</b>" not in text
    assert "$\\frac$" in words  # no formula
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@pytest.mark.parametrize("kind", ["tumours", "digits", "mixed"])
def test_the_confusion_matrix_is_scikit_learns(made, kind):
    trained = made(kind).trained
    rows = trained.parts.test
    label = trained.model.answers(trained.table.records.take(rows))["label"]
    expected = metrics.confusion_matrix(trained.table.target[rows], label)
    matrix, classes = Page(made(kind).page).of("confusion")
    found = [[int(cell) for cell in row[1:-1]] for row in matrix[1:]]
    np.testing.assert_array_equal(found, expected)
    assert [int(row[-1]) for row in matrix[1:]] == expected.sum(axis=1).tolist()
    report = metrics.classification_report(
        trained.table.target[rows], label, output_dict=True, zero_division=0
    )
    for row in classes[1:]:
        if kind == "mixed" and row[0] not in report:
            continue  # shortened
        assert float(row[1]) == pytest.approx(report[row[0]]["precision"], abs=5e-5)
        assert float(row[2]) == pytest.approx(report[row[0]]["recall"], abs=5e-5)


def test_the_metrics_are_the_manifests(made):
    manifest = made("tumours").bundle.manifest
    (table,) = Page(made("tumours").page).of("verdict")
    assert table[0][:3] == ["metric", "this network", "95 % interval"]
    assert len(table) - 1 == len(manifest.metrics["test"])
    for row, (name, figure) in zip(table[1:], manifest.metrics["test"].items(), strict=True):
        assert float(row[1]) == pytest.approx(figure, abs=5e-5)
        low, high = map(float, row[2].split(" to "))
        assert (low, high) == pytest.approx(manifest.intervals[name], abs=5e-5)
        for cell, baseline in zip(row[3:], manifest.baselines.values(), strict=True):
            assert float(cell) == pytest.approx(baseline.metrics[name], abs=5e-5)


def test_everything_the_bundle_is_known_by_is_there(made):
    page = Page(made("mixed").page)
    words = "".join(page.words)
    manifest = made("mixed").bundle.manifest
    assert manifest.data.fingerprint in words
    for digest in made("mixed").bundle.checksums.values():
        assert digest in words
    for name in manifest.training.config:
        assert name in words
    (columns,) = page.of("data")
    assert [row[:2] for row in columns[1:]] == [[c.name, c.type] for c in manifest.inputs]
    assert "chosen on the validation rows for f1" in words
    assert "reproduces its self-test" in words


def test_without_a_run_the_page_says_what_is_missing_and_why(made, tmp_path):
    for kind, sections in (("mixed", CLASSES), ("diabetes", VALUES)):
        evidence = ReportInputs.gather(made(kind).bundle, tmp_path)
        page = Page(render(evidence))
        assert page.sections == sections
        words = "".join(page.words)
        assert "Only the bundle speaks here." in words
        assert f"{tmp_path}/{kind}/1, which does not exist" in words
        assert words.count("This needs the test rows") == len(sections) - 3 - 5
        assert len(page.of("verdict")[0]) > 3


def test_a_run_of_another_bundle_is_not_taken_for_its_own(made, tmp_path):
    (tmp_path / "tumours").mkdir()
    (tmp_path / "tumours" / "1").symlink_to(made("digits").run)
    evidence = ReportInputs.gather(made("tumours").bundle, tmp_path)
    assert evidence.run is None
    assert "expected the run that led to the graph" in evidence.absent


@pytest.mark.slow
def test_the_same_evidence_makes_the_same_page(made):
    assert render(made("diabetes").evidence) == made("diabetes").page


@pytest.mark.slow
def test_the_command_writes_the_page(made, tmp_path):
    def report(*arguments):
        return CliRunner().invoke(main, ["report", *map(str, arguments)])

    folder, page = made("tumours").bundle.path, tmp_path / "page.html"
    runs = made("tumours").config.runs
    done = report(folder.parent, "-o", page, "--runs", runs)
    assert done.exit_code == 0, done.output
    assert page.read_text() == made("tumours").page
    assert done.stdout.startswith(f"{page}: ")
    done = report(folder, "-o", page, "--runs", tmp_path)
    assert "warning: the report is incomplete: expected the folder" in done.stderr
    assert report(tmp_path, "-o", page).exit_code == 1
    assert report(folder, "-o", tmp_path / "page.pdf").exit_code == 2
