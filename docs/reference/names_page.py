"""The page of the public Python names, docs/api.md."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from jinja2 import Environment

from docs.reference.markdown import to_cell, to_code

PAGE = "docs/api.md"
# The public names are those in `__all__` of these packages. A name that several of them have is
# listed once, under the first.
PACKAGES = (
    "trainer",
    "trainer.sequential",
    "trainer.nn",
    "trainer.training",
    "trainer.training.callbacks",
    "trainer.training.diagnostics",
    "serving",
)
# A package with more names than this is divided by module.
LONG_PACKAGE = 20
MAX_SIGNATURE = 70  # characters
OWN_PACKAGES = ("trainer", "serving")
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class NameRow:
    """A row of a table of names. The cells are Markdown.

    Attributes:
        signature: Name, with the arguments in short form.
        summary: First line of the docstring; for a dictionary its keys.
        methods: Methods that a class adds to those of its public base.
    """

    signature: str
    summary: str
    methods: str


@dataclass(frozen=True)
class NameGroup:
    """The names of a package, or of one of its modules.

    Attributes:
        heading: Import path of the package, or title of the module.
        is_package: Whether the names are those of a package.
        summary: First line of the docstring.
        source: Path of the source, relative to the page.
        rows: Rows of the names, in alphabetical order; none if the package is divided.
    """

    heading: str
    is_package: bool
    summary: str
    source: str
    rows: list[NameRow]


def render_names_page(environment: Environment) -> dict[str, str]:
    """Return the text of docs/api.md, by path."""
    packages = [import_module(path) for path in PACKAGES]
    public: list[Any] = []
    names: list[dict[str, Any]] = []  # new names of each package
    for package in packages:
        values = {name: getattr(package, name) for name in package.__all__}
        new = {name: value for name, value in values.items() if not _contains(public, value)}
        public += new.values()
        names.append(new)
    groups = [
        group
        for package, values in zip(packages, names, strict=True)
        for group in _describe_package(package, values, public)
    ]
    return {PAGE: environment.get_template("api.md.j2").render(groups=groups)}


def _contains(values: list[Any], value: object) -> bool:
    return any(each is value for each in values)


def _describe_package(
    package: ModuleType, values: dict[str, Any], public: list[Any]
) -> list[NameGroup]:
    """Return the groups of a package: one, or an empty one and one for each module.

    Args:
        package: The package.
        values: Objects by name, without those that are listed under another package.
        public: Objects of all packages.
    """
    names = sorted(values, key=str.lower)
    rows = {name: _describe_name(name, values[name], public) for name in names}
    heading = package.__name__
    if len(values) <= LONG_PACKAGE:
        return [_make_group(package, heading, list(rows.values()), is_package=True)]
    by_module: dict[str, list[NameRow]] = {}
    for name in names:
        module = _find_module(values[name]).removeprefix(f"{package.__name__}.").split(".")[0]
        by_module.setdefault(module, []).append(rows[name])
    groups = [_make_group(package, heading, [], is_package=True)]
    for module in sorted(by_module):
        source = import_module(f"{package.__name__}.{module}")
        title = module.replace("_", " ").capitalize()
        groups.append(_make_group(source, title, by_module[module], is_package=False))
    return groups


def _make_group(
    module: ModuleType, heading: str, rows: list[NameRow], *, is_package: bool
) -> NameGroup:
    source = Path(inspect.getfile(module))
    source = source.parent if source.name == "__init__.py" else source
    return NameGroup(
        heading=heading,
        is_package=is_package,
        summary=to_cell(_read_summary(module)),
        source=f"../{source.relative_to(ROOT)}",
        rows=rows,
    )


def _find_module(value: Any) -> str:
    """Return the module that defines a value; for a dictionary, that of its first value."""
    if isinstance(value, dict):
        value = next(iter(value.values()))
    return str(getattr(value, "__module__", None) or type(value).__module__)


def _describe_name(name: str, value: Any, public: list[Any]) -> NameRow:
    if isinstance(value, dict):
        keys = ", ".join(f"`{key}`" for key in value)
        return NameRow(to_code(name), to_cell(f"Dictionary with the keys {keys}."), "")
    methods = _list_methods(value, public) if inspect.isclass(value) else []
    return NameRow(
        signature=to_code(f"{name}{_shorten_signature(value)}"),
        summary=to_cell(_read_summary(value)),
        methods=", ".join(map(to_code, methods)),
    )


def _read_summary(value: Any) -> str:
    """Return the first paragraph of a docstring.

    Raises:
        LookupError: If there is no docstring.
    """
    docstring = inspect.cleandoc(value.__doc__ or "")
    if not docstring:
        raise LookupError(f"expected a docstring; {value!r} has none; write one")
    return docstring.split("\n\n")[0]


def _list_methods(cls: type, public: list[Any]) -> list[str]:
    """Return the methods that a class adds to its public base, in the order of the source.

    They are those of the class itself, and those of its bases in this project that are not public,
    up to the first public one.
    """
    methods: dict[str, None] = {}
    inherited: set[str] = set()
    for base in cls.__mro__[1:]:
        if _contains(public, base):
            inherited |= set(dir(base))
    for base in reversed(cls.__mro__):
        if base.__module__.split(".")[0] in OWN_PACKAGES and not (
            base is not cls and _contains(public, base)
        ):
            methods |= dict.fromkeys(
                name
                for name, value in vars(base).items()
                if not name.startswith("_")
                and (inspect.isfunction(value) or isinstance(value, classmethod | staticmethod))
            )
    return [name for name in methods if name not in inherited]


def _shorten_signature(value: Any) -> str:
    """Return the parameters in parentheses, without types; what is too long ends with "…".

    It is empty for base classes and exceptions, which one does not call.
    """
    if inspect.isclass(value) and (inspect.isabstract(value) or issubclass(value, Exception)):
        return ""
    parts: list[str] = []
    for parameter in inspect.signature(value).parameters.values():
        is_keyword = parameter.kind is parameter.KEYWORD_ONLY
        if is_keyword and not any(part.startswith("*") for part in parts):
            parts.append("*")
        text = str(parameter.replace(annotation=parameter.empty, default=parameter.empty))
        if parameter.default is not parameter.empty:
            text += f"={_format_default(parameter.default)}"
        parts.append(text)
    while len(", ".join(parts)) > MAX_SIGNATURE:
        parts = [*parts[: -2 if parts[-1] == "…" else -1], "…"]
    return f"({', '.join(parts)})"


def _format_default(value: object) -> str:
    if inspect.isclass(value):
        return value.__name__
    text = repr(value)
    return "…" if text.startswith("<") else text
