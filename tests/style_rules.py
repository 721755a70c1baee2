"""Check the rules of CONTRIBUTING that ruff does not know; `make lint` runs it.

Two rules: each entry of a docstring names the thing (under Raises it begins with "If"), and each
public class name stands for one class. Written by hand because pydoclint and ruff compare the names
and types of entries with the signature, and read no descriptions.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PRODUCT = ("trainer", "serving", "benchmarks", "docs")
SECTIONS = ("Args", "Attributes", "Raises", "Returns", "Yields")
SECTION = re.compile(rf"({'|'.join(SECTIONS)}):\s*")
# An entry is indented by four spaces; what continues it is indented by eight. A line without a name
# and a colon is the description of what a function returns.
ENTRY = re.compile(r" {4}(?! )(?:(?P<name>\*{0,2}[\w.`, ]+?)(?: \([^)]*\))?: +)?(?P<text>\S.*)")
# Words with which a description continues the name as a sentence ("worker: whose it is") instead of
# naming the thing ("worker: The worker that owns the connection").
CONTINUATION = re.compile(
    r"(as|by|for|from|has|have|in|is|are|it|its|likewise|of|on|that|those|to|was|were|what|when"
    r"|where|which|who|whose|why|with)\b",
    re.IGNORECASE,
)
# A description begins with a capital letter, with a symbol of a formula (one letter), or with a
# name that is written in lower case.
LOWER_CASE = re.compile(r"(?!(gevent|gunicorn|pydantic|simdjson|wrk|u?int\d+|float\d+)\b)[a-z]{2}")

# Class names that stand for several classes, each with the reason.
SHARED_CLASS_NAMES: dict[str, str] = {}


def find_docstring_faults(source: str) -> Iterator[tuple[int, str]]:
    """Yield the entries of a module's docstrings that do not say what the name stands for.

    Args:
        source: Text of a Python module.

    Yields:
        Number of the line where the class or function begins, and the fault in a sentence.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for section, name, text in _iter_entries(ast.get_docstring(node) or ""):
                if fault := _find_fault(section, text):
                    yield getattr(node, "lineno", 1), f"{name or section}: {fault}; got {text!r}"


def _iter_entries(docstring: str) -> Iterator[tuple[str, str, str]]:
    """Yield section, name ("" if there is none) and first line of each entry."""
    section, is_first = "", False
    for line in docstring.splitlines():
        if found := SECTION.fullmatch(line):
            section, is_first = found[1], True
        elif line and not line.startswith(" "):
            section = ""
        elif section and (entry := ENTRY.fullmatch(line)):
            # Under Returns and Yields only the first line begins a description.
            if section not in ("Returns", "Yields") or is_first:
                yield section, (entry["name"] or "").strip(), entry["text"]
            is_first = False


def _find_fault(section: str, text: str) -> str:
    """Return what is wrong with the description of an entry; "" if nothing is."""
    if section == "Raises":
        return "" if text.startswith("If ") else 'expected a condition that begins with "If"'
    if CONTINUATION.match(text):
        return "expected a noun phrase that stands without the name"
    if LOWER_CASE.match(text):
        return "expected a capital letter"
    return ""


def find_repeated_classes(sources: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the public class names that stand for more than one class, with the modules.

    Args:
        sources: Path and text of each module.
    """
    places = defaultdict(list)
    for path, source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(path)
    return {name: found for name, found in sorted(places.items()) if len(found) > 1}


def main() -> None:
    """Print each fault with its place; exit with status 1 if there is one."""
    paths = [path for folder in PRODUCT for path in sorted((ROOT / folder).rglob("*.py"))]
    sources = [(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")) for path in paths]
    faults = [
        f"{path}:{line}: {fault}"
        for path, source in sources
        for line, fault in find_docstring_faults(source)
    ]
    repeated = find_repeated_classes(sources)
    faults += [
        f"{name}: expected one public class of this name; got {', '.join(found)}"
        for name, found in repeated.items()
        if name not in SHARED_CLASS_NAMES
    ]
    faults += [
        f"{name}: expected several classes, as SHARED_CLASS_NAMES says; got fewer; remove it"
        for name in SHARED_CLASS_NAMES
        if name not in repeated
    ]
    sys.stdout.writelines(f"{fault}\n" for fault in faults)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
