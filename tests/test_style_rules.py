"""The rules of CONTRIBUTING on docstrings and class names, as `make lint` checks them."""

import pytest

from tests.style_rules import find_docstring_faults, find_repeated_classes

FUNCTION = '''
def read(path):
    """Read a file.

    {section}:
        {entry}
    """
'''


@pytest.mark.parametrize(
    ("section", "entry"),
    [
        ("Args", "path: of the file."),
        ("Args", "path: Whose rows are read."),
        ("Args", "path: the file to read."),
        ("Args", "path (Path): likewise, in the folder."),
        ("Attributes", "path: As `open` takes it."),
        ("Returns", "of each row, float32 `(n,)`."),
        ("Yields", "rows: What is left of the file."),
        ("Raises", "OSError: the file is not there."),
        ("Raises", "OSError: When the file is not there."),
    ],
)
def test_docstring_entry_continues_the_name_is_a_fault(section, entry):
    ((line, fault),) = find_docstring_faults(FUNCTION.format(section=section, entry=entry))
    assert line == 2
    assert "expected" in fault


@pytest.mark.parametrize(
    ("section", "entry"),
    [
        ("Args", "path: The file to read."),
        ("Args", "path: Whether the file is read."),
        ("Args", "cfg: gunicorn's configuration."),
        ("Args", "path: The file to read, which is\n            of any size."),
        ("Returns", "Rows of the file.\n        of any size"),
        ("Returns", "float32 `(n,)`."),
        ("Raises", "OSError: If the file is not there."),
        ("Note", "path: of the file."),
    ],
)
def test_docstring_entry_names_the_thing_is_no_fault(section, entry):
    assert not list(find_docstring_faults(FUNCTION.format(section=section, entry=entry)))


def test_class_name_in_two_modules_is_found_with_both():
    sources = [
        ("a.py", "class Server: ..."),
        ("b.py", "class Server: ...\nclass Client: ..."),
        ("c.py", "class _Private: ..."),
        ("d.py", "class _Private: ..."),
    ]
    assert find_repeated_classes(sources) == {"Server": ["a.py", "b.py"]}
