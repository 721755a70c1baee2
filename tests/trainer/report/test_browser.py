"""The page in a real browser: nothing is fetched, nothing goes wrong, nothing sticks out."""

import html
import json
import re
import subprocess

import pytest

from tests.chromium import CHROMIUM, FLAGS

pytestmark = pytest.mark.browser

QUIET = (*FLAGS, "--enable-logging=stderr")
# Frames are as wide as they are told to be; of a window the browser has its own opinion.
MEASURE = """
<pre id="found"></pre><script>addEventListener('load', () => {
  const found = {};
  for (const frame of document.querySelectorAll('iframe')) {
    const inside = frame.contentDocument, root = inside.documentElement;
    found[frame.id] = {
      wide: root.clientWidth, needed: root.scrollWidth,
      fetched: frame.contentWindow.performance.getEntriesByType('resource').map(e => e.name),
      sections: inside.querySelectorAll('section').length,
      drawn: [...inside.querySelectorAll('figure svg')].map(e => e.getBoundingClientRect().height),
    };
  }
  document.getElementById('found').textContent = JSON.stringify(found);
});</script>"""
WRONG = '<!doctype html><img src="http://nowhere.invalid/x.png"><p style="width:2000px">x</p>'


def chromium(folder, *arguments):
    done = subprocess.run(
        [CHROMIUM, *QUIET, f"--user-data-dir={folder}/profile", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, said


@pytest.mark.parametrize("kind", ["mixed", "digits", "compressed"])
def test_nothing_is_fetched_and_nothing_is_wider_than_the_screen(made, request, kind, tmp_path):
    page = (request.getfixturevalue(kind) if kind == "compressed" else made(kind)).page
    pages = {"w1280": page, "w390": page, "wrong": WRONG}
    frames = [
        f'<iframe id="{name}" style="width:{name[1:] if name[1:].isdigit() else 390}px;height:900px'
        f'" srcdoc="{html.escape(page)}"></iframe>'
        for name, page in pages.items()
    ]
    (tmp_path / "frames.html").write_text(
        f'<!doctype html><meta charset="utf-8">{"".join(frames)}{MEASURE}', encoding="utf-8"
    )
    dumped, _ = chromium(tmp_path, "--dump-dom", f"file://{tmp_path}/frames.html")
    text = re.search(r'<pre id="found">(.*?)</pre>', dumped, re.DOTALL)[1]
    found = json.loads(html.unescape(text))
    assert found["wrong"]["fetched"] == ["http://nowhere.invalid/x.png"]  # it would show
    assert found["wrong"]["needed"] > found["wrong"]["wide"]
    for name, width in (("w1280", 1280), ("w390", 390)):
        frame = found[name]
        assert width - 20 <= frame["wide"] <= width  # less a bar to scroll by
        assert frame["needed"] <= frame["wide"]
        assert frame["fetched"] == []
        assert frame["sections"] == 14
        assert len(frame["drawn"]) >= 6
        assert min(frame["drawn"]) > 40


def test_it_prints_on_pages_and_the_console_stays_silent(made, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(made("mixed").page, encoding="utf-8")
    _, said = chromium(tmp_path, f"--print-to-pdf={tmp_path}/page.pdf", f"file://{page}")
    assert said == []
    # Even were a script to slip in, it would not run; and it shows that the console is heard.
    page.write_text(made("mixed").page.replace("</body>", "<script>document.title</script></body>"))
    _, said = chromium(tmp_path, "--dump-dom", f"file://{page}")
    assert any("Content Security Policy" in line for line in said)
    pages = re.findall(rb"/Type\s*/Page\b", (tmp_path / "page.pdf").read_bytes())
    assert 5 <= len(pages) <= 15
