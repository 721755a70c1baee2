"""docs/architecture.md lists the modules that there are."""

import re

import pytest

from tests.pages.markdown import ROOT, read_page


@pytest.mark.parametrize("package", ["serving", "trainer"])
def test_architecture_page_names_every_module_of_the_package_and_no_other(package):
    page = read_page("docs/architecture.md")
    table = page.split(f"<!-- {package}: modules -->")[1].split("<!-- end -->")[0]
    listed = {
        f"{folder.removeprefix(f'{package}/')}{module}"
        for folder, modules in re.findall(r"^\| `([\w/]+)` \|.*\| (.*) \|$", table, re.MULTILINE)
        for module in re.findall(r"`(\w+)`", modules)
    }
    present = {
        str(path.relative_to(ROOT / package).with_suffix(""))
        for path in (ROOT / package).rglob("*.py")
        if not path.name.startswith("__") and "loadtest" not in path.parts
    }
    assert listed == present
