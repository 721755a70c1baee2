"""The HTML page of a report, parsed like a browser does."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files

import pytest
from markupsafe import Markup

from serving.loadtest.report import formatting
from serving.loadtest.report.html_page import render_page
from serving.loadtest.report.plots import SERIES_COLOURS

PLOTS = ("plot_percentiles", "plot_seconds", "plot_capacity")
VOID_ELEMENTS = {"meta", "link", "br", "img", "hr", "input"}


class ParsedPage(HTMLParser):
    """The elements, URLs and words of a page. Unclosed elements fail an assertion."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.urls, self.words = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID_ELEMENTS:
            self.open.append(tag)
        self.elements.append(tag)
        values = dict(attrs)
        url_attributes = ("src", "href", "xlink:href", "action")
        self.urls += [values[name] for name in url_attributes if name in values]
        self.urls += re.findall(r"url\(([^)]*)\)", " ".join(v or "" for v in values.values()))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID_ELEMENTS:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data.strip())

    @property
    def text(self):
        return " ".join(self.words)


@pytest.fixture
def no_plots(monkeypatch):
    """Leave the plots out of pages, since they take most of the time."""
    for name in PLOTS:
        target = f"serving.loadtest.report.html_page.{name}"
        monkeypatch.setattr(target, lambda *_: Markup())


def test_page_has_every_number_of_the_report(no_plots, make_report, probes):
    report = make_report(probes=probes, capacity=400.0)
    statistics, words = report.statistics, ParsedPage(render_page(report)).words
    for times in (statistics.latency, statistics.service_time, statistics.send_delay):
        for name in times.percentiles:
            percentile = formatting.format_percentile(times, name).removesuffix("*")
            assert percentile in " ".join(words)
        assert formatting.format_milliseconds(times.maximum) in words
        assert formatting.format_milliseconds(times.mean) in words
    for second in statistics.by_second:
        assert formatting.format_milliseconds(second.p50) in words
        assert formatting.format_milliseconds(second.p99) in words
    for probe in probes:
        assert formatting.format_rate(probe.rate) in words
        p999 = probe.statistics.latency.percentiles["p99.9"]
        assert formatting.format_milliseconds(p999) in words
    for result in report.results:
        assert {str(result.objective), result.formatted_value} <= set(words)
    for expected in (
        "21",
        "10",
        "4",
        "196",
        "200/s, 2,000 requests",
        "786/s",
        "64",
        "7.25 on average",
        "refused with 429",
        "3",
        "1–2.5",
        "0.110",
        "0.420",
        "3.11.9",
        "Xeon <4>",
        "python -m serving loadtest --rate 200",
    ):
        assert expected in words
    assert "1,998 requests that took 1.83 ms on average" in " ".join(words)
    assert "can send 31,234 requests/s" in " ".join(words)


@pytest.mark.slow
def test_page_has_no_scripts_and_no_external_urls(make_report, probes):
    page = ParsedPage(render_page(make_report(probes=probes)))
    assert not {"script", "link", "img", "iframe", "object"} & set(page.elements)
    assert page.urls
    assert all(url.startswith("#d") for url in page.urls)
    assert page.elements.count("svg") == 3


@pytest.mark.parametrize("attribute", ["target", "command", "load"])
def test_page_foreign_text_is_escaped(no_plots, make_report, attribute):
    page = render_page(make_report(**{attribute: "<script>alert('1')</script>"}))
    assert "<script" not in page
    assert "<script>alert('1')</script>" in ParsedPage(page).text


def test_page_result_is_one_sentence(no_plots, make_report, make_statistics, probes):
    text = ParsedPage(render_page(make_report())).text
    assert re.search(
        r"3 of 4 objectives missed: p99 was [0-9.]+ ms \(wanted: at most 50 ms\)", text
    )
    text = ParsedPage(render_page(make_report(probes=probes, capacity=400.0))).text
    assert "400 requests per second met the objectives." in text
    report = make_report(results=(), statistics=make_statistics(has_errors=False))
    assert "No objectives were given" in ParsedPage(render_page(report)).text


def test_page_method_explains_the_loop_that_was_used(no_plots, make_report, make_statistics):
    assert "This was an open loop" in ParsedPage(render_page(make_report())).text
    closed = make_report(statistics=make_statistics(is_open_loop=False))
    assert "This was a closed loop" in ParsedPage(render_page(closed)).text


def test_page_first_lines_are_target_load_verdict_and_advice(no_plots, make_report):
    header = ParsedPage(render_page(make_report())).text.partition("Result")[0]
    parts = ("digits/1 at http", "200 requests/s", "objectives missed", "Some answers were wrong")
    places = [header.index(part) for part in parts]
    assert places == sorted(places)


@pytest.mark.parametrize("is_met", [True, False])
def test_page_results_are_marked_by_words_and_signs_besides_colour(no_plots, make_report, is_met):
    result = replace(make_report().results[0], is_met=is_met, reason="")
    page = ParsedPage(render_page(make_report(results=[result])))
    assert page.text.count("✓" if is_met else "✗") == 2  # the verdict and the table
    assert ("✓ met" if is_met else "✗ missed") in page.words
    assert not {"✓ met", "✗ missed"} - {"✓ met" if is_met else "✗ missed"} & set(page.words)


def test_page_every_measured_time_has_its_unit_in_the_heading(no_plots, make_report, probes):
    page = render_page(make_report(probes=probes))
    headings = re.findall(r'<th scope="col"[^>]*>([^<]+)</th>', page)
    times = [h for h in headings if re.match(r"p\d|mean|latency|service|inside|late", h)]
    assert len(times) == 3 + 4 + 2 + 4  # probes, times, seconds, stages
    assert all(heading.endswith(", ms") for heading in times)


def _compute_luminance(colour):
    """Return the relative luminance of a colour, as WCAG 2.2 defines it."""
    channels = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _compute_contrast(one, other):
    low, high = sorted((_compute_luminance(one), _compute_luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_page_text_and_lines_have_enough_contrast_in_both_styles():
    css = files("serving.loadtest.report").joinpath("templates/page.css").read_text("utf-8")
    blocks = re.findall(r":root \{([^}]*)\}", css)
    assert len(blocks) == 2  # light, dark
    for block in blocks:
        colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block))
        for background in ("paper", "raised"):
            for name in ("ink", "muted", "accent", "good", "bad"):
                assert _compute_contrast(colours[name], colours[background]) >= 4.5, name
        for line in (colours["second"], *SERIES_COLOURS[2:]):
            assert _compute_contrast(line, colours["paper"]) >= 3, line


def test_page_warnings_precede_the_result(no_plots, make_report, make_health):
    report = make_report(generator=make_health("The generator was slow."))
    text = ParsedPage(render_page(report)).text
    assert text.index("The generator was slow.") < text.index("Result")


def test_page_run_without_requests_has_no_nan(no_plots, make_report, empty_statistics):
    page = ParsedPage(render_page(make_report(statistics=empty_statistics, server=None)))
    assert "the server has no /metrics" in page.text
    assert "nan" not in page.text.split()
