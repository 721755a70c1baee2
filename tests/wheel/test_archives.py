"""What the wheel and the source distribution hold, and how they describe themselves."""

import re
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import PurePosixPath

import pytest

from serving.settings.options import VERSION
from tests.wheel.environments import ROOT

pytestmark = pytest.mark.wheel


@pytest.fixture(scope="module")
def metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_bytes(archive.read(name))


def test_wheel_holds_the_files_of_both_packages_and_the_licence(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    info = f"forwardpass-{VERSION}.dist-info"
    assert {PurePosixPath(name).parts[0] for name in names} == {"serving", "trainer", info}
    assert f"{info}/licenses/LICENSE" in names
    files = {
        str(path.relative_to(ROOT))
        for package in ("serving", "trainer")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if not name.startswith(info)} == files
    for file in (
        "serving/py.typed",
        "trainer/py.typed",
        "serving/http/openapi/ui/index.html",
        "serving/loadtest/report/templates/page.html",
        "trainer/report/templates/page.html",
    ):
        assert file in names


def test_sdist_holds_sources_and_pages_but_neither_tests_nor_models(sdist):
    with tarfile.open(sdist) as archive:
        names = {
            str(PurePosixPath(name).relative_to(f"forwardpass-{VERSION}"))
            for name in archive.getnames()
        }
    pages = {str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")}
    assert {"CHANGELOG.md", "LICENSE", "README.md", "docs/package.md", *pages} <= names
    assert not [name for name in names if name.startswith(("tests", "models", "benchmarks"))]
    assert not [name for name in names if "__pycache__" in name]


def test_metadata_describe_the_package(metadata):
    assert metadata["Name"] == "forwardpass"
    assert metadata["Version"] == VERSION
    assert metadata["Author"] == "forwardpass contributors"
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"
    assert "Typing :: Typed" in metadata.get_all("Classifier")
    assert not [text for text in metadata.get_all("Classifier") if text.startswith("License")]


def test_readme_renders_on_an_index_without_relative_links_or_images(metadata):
    assert metadata["Description-Content-Type"] == "text/markdown"
    from readme_renderer import markdown  # noqa: PLC0415 - what indexes use; slow to import

    text = metadata.get_payload()
    assert text == (ROOT / "docs" / "package.md").read_text()
    page = markdown.render(text)
    assert page is not None
    assert page.count("<pre") == text.count("```") // 2
    assert "<table>" in page
    assert "<img" not in page
    links = re.findall(r'href="([^"]*)"', page)
    assert [link for link in links if not link.startswith(("http://", "https://", "#"))] == []
