"""The page as a reader's browser takes it."""

import re
from html.parser import HTMLParser

import pytest
from markupsafe import Markup

from serving.loadtest.report import formatting
from serving.loadtest.report.html_page import render_page

DRAWINGS = ("plot_percentiles", "plot_seconds", "plot_capacity")
EMPTY = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """Elements, addresses and words of a page; refuses one whose elements do not close."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.addresses, self.words = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in EMPTY:
            self.open.append(tag)
        self.elements.append(tag)
        held = dict(attrs)
        self.addresses += [held[n] for n in ("src", "href", "xlink:href", "action") if n in held]
        self.addresses += re.findall(r"url\(([^)]*)\)", " ".join(v or "" for v in held.values()))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in EMPTY:
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
def undrawn(monkeypatch):
    """Pages without their drawings, which take most of the time."""
    for name in DRAWINGS:
        monkeypatch.setattr(f"serving.loadtest.report.html_page.{name}", lambda *figures: Markup())


def test_it_holds_every_figure(undrawn, report, probes):
    built = report(probes=probes, held=400.0)
    figures, words = built.figures, Page(render_page(built)).words
    for times in (figures.latency, figures.service, figures.late):
        for name in times.percentiles:
            assert formatting.format_percentile(times, name).removesuffix("*") in " ".join(words)
        assert formatting.format_milliseconds(times.most) in words
        assert formatting.format_milliseconds(times.mean) in words
    for second in figures.by_second:
        assert formatting.format_milliseconds(second.p50) in words
        assert formatting.format_milliseconds(second.p99) in words
    for probe in probes:
        assert formatting.format_rate(probe.rate) in words
        assert formatting.format_milliseconds(probe.figures.latency.percentiles["p99.9"]) in words
    for verdict in built.verdicts:
        assert {str(verdict.objective), verdict.told} <= set(words)
    for said in (
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
        assert said in words
    assert "1,998 requests, of 1.83 ms on average" in " ".join(words)
    assert "31,234 requests/s at most" in " ".join(words)


@pytest.mark.slow
def test_it_asks_no_network_and_runs_no_script(report, probes):
    found = Page(render_page(report(probes=probes)))
    assert not {"script", "link", "img", "iframe", "object"} & set(found.elements)
    assert found.addresses
    assert all(address.startswith("#d") for address in found.addresses)
    assert found.elements.count("svg") == 3


@pytest.mark.parametrize("place", ["target", "command", "load"])
def test_what_others_named_is_text(undrawn, report, place):
    told = render_page(report(**{place: "<script>alert('1')</script>"}))
    assert "<script" not in told
    assert "<script>alert('1')</script>" in Page(told).text


def test_the_verdict_is_a_sentence(undrawn, report, probes, run_of):
    assert (
        "It missed 3 of 4 objectives: 196 right answers a second"
        in Page(render_page(report())).text
    )
    assert (
        "400 requests a second met the objectives."
        in Page(render_page(report(probes=probes, held=400.0))).text
    )
    assert "no objective was asked for" in Page(render_page(report(verdicts=()))).text


def test_the_two_loops_are_explained_each_in_its_way(undrawn, report, run_of):
    assert "as independent users come" in Page(render_page(report())).text
    closed = report(figures=run_of(open_loop=False))
    assert "Each user asked again as soon as it had its answer" in Page(render_page(closed)).text


def test_warnings_stand_above_all_else(undrawn, report, limits_of):
    said = Page(render_page(report(limits=limits_of(verdict="The generator was slow.")))).text
    assert said.index("The generator was slow.") < said.index("Verdict")


def test_a_run_that_nothing_came_of_has_a_page(undrawn, report, nothing):
    found = Page(render_page(report(figures=nothing, server_side=None)))
    assert "It tells nothing of itself here" in found.text
    assert "nan" not in found.text.split()
