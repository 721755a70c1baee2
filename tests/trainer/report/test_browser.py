"""Tests of the report in Chromium: no requests, no console messages, no horizontal scrolling."""

import html
import json
import re
import subprocess

import pytest

from tests.chromium import CHROMIUM, FLAGS, open_browser

pytestmark = pytest.mark.browser

MIN_LETTER_SIZE = 9  # CSS pixels, in plots
BROWSER_FLAGS = (*FLAGS, "--enable-logging=stderr")
# The width of a frame can be set exactly, that of a window cannot.
MEASURE = """
<pre id="result"></pre><script>addEventListener('load', () => {
  const result = {};
  for (const frame of document.querySelectorAll('iframe')) {
    const inside = frame.contentDocument, root = inside.documentElement;
    result[frame.id] = {
      wide: root.clientWidth, needed: root.scrollWidth,
      fetched: frame.contentWindow.performance.getEntriesByType('resource').map(e => e.name),
      sections: inside.querySelectorAll('section').length,
      drawn: [...inside.querySelectorAll('figure svg')].map(e => e.getBoundingClientRect().height),
      scrolled: [...inside.querySelectorAll('[role=img]')]
        .filter(e => e.scrollWidth > e.clientWidth).map(e => e.ariaLabel),
      letters: [...inside.querySelectorAll('figure svg text')]
        .map(e => parseFloat(getComputedStyle(e).fontSize) * e.ownerSVGElement.getScreenCTM().a),
    };
  }
  document.getElementById('result').textContent = JSON.stringify(result);
});</script>"""
BROKEN_PAGE = '<!doctype html><img src="http://nowhere.invalid/x.png"><p style="width:2000px">x</p>'


def run_chromium(folder, *arguments):
    result = subprocess.run(
        [CHROMIUM, *BROWSER_FLAGS, f"--user-data-dir={folder}/profile", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    messages = [line for line in result.stderr.splitlines() if "CONSOLE" in line]
    return result.stdout, messages


@pytest.mark.parametrize("kind", ["mixed", "digits", "compressed_example"])
def test_page_in_browser_fetches_nothing_and_fits_the_screen(
    train_example, request, kind, tmp_path
):
    page = (
        request.getfixturevalue(kind) if kind == "compressed_example" else train_example(kind)
    ).page
    pages = {"w1280": page, "w400": page, "w390": page, "broken": BROKEN_PAGE}
    frames = [
        f'<iframe id="{name}" style="width:{name[1:] if name[1:].isdigit() else 390}px;height:900px'
        f'" srcdoc="{html.escape(page)}"></iframe>'
        for name, page in pages.items()
    ]
    (tmp_path / "frames.html").write_text(
        f'<!doctype html><meta charset="utf-8">{"".join(frames)}{MEASURE}', encoding="utf-8"
    )
    dumped, _ = run_chromium(tmp_path, "--dump-dom", f"file://{tmp_path}/frames.html")
    text = re.search(r'<pre id="result">(.*?)</pre>', dumped, re.DOTALL)[1]
    result = json.loads(html.unescape(text))
    assert result["broken"]["fetched"] == ["http://nowhere.invalid/x.png"]  # the measurement works
    assert result["broken"]["needed"] > result["broken"]["wide"]
    for name, width in (("w1280", 1280), ("w400", 400), ("w390", 390)):
        frame = result[name]
        assert width - 20 <= frame["wide"] <= width  # minus a scroll bar
        assert frame["needed"] <= frame["wide"]
        assert frame["fetched"] == []
        assert frame["sections"] == 14
        assert len(frame["drawn"]) >= 6
        assert min(frame["drawn"]) > 40
        assert min(frame["letters"]) >= MIN_LETTER_SIZE
    # At 400 px, plots are neither cut nor so small that nobody can read them.
    assert result["w400"]["scrolled"] == []


def test_page_in_browser_prints_folded_tables_and_no_navigation(train_example, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(train_example("mixed").page, encoding="utf-8")
    measure = """[...document.querySelectorAll('details table, summary, nav')]
        .map(e => [e.localName, e.checkVisibility({contentVisibilityAuto: true})])"""
    with open_browser(tmp_path) as browser:
        browser.open(f"file://{page}")
        browser.wait_for("Boolean(document.querySelector('footer'))")
        on_screen = browser.evaluate(measure)
        browser.call("Emulation.setEmulatedMedia", media="print")
        on_paper = browser.evaluate(measure)
    assert {tuple(e) for e in on_screen} == {("table", False), ("summary", True), ("nav", True)}
    assert {tuple(e) for e in on_paper} == {("table", True), ("summary", False), ("nav", False)}


def test_page_in_browser_prints_without_console_messages(train_example, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(train_example("mixed").page, encoding="utf-8")
    _, messages = run_chromium(tmp_path, f"--print-to-pdf={tmp_path}/page.pdf", f"file://{page}")
    assert messages == []
    # An injected script does not run. Its message also shows that the console is captured.
    page.write_text(
        train_example("mixed").page.replace("</body>", "<script>document.title</script></body>")
    )
    _, messages = run_chromium(tmp_path, "--dump-dom", f"file://{page}")
    assert any("Content Security Policy" in line for line in messages)
    pages = re.findall(rb"/Type\s*/Page\b", (tmp_path / "page.pdf").read_bytes())
    assert 5 <= len(pages) <= 15
