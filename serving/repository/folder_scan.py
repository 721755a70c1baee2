"""The shelf: what lies in the folder of models; names, sizes and times, no content."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from serving import bundle

MAX_NAME_CHARACTERS = 64  # characters of a name that is none of a version's


@dataclass(frozen=True)
class FolderScan:
    """What lies in the folder of models.

    Attributes:
        versions: of each model, ascending.
        unreadable: why a folder cannot be looked into, by its name.
    """

    versions: dict[str, list[int]] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)

    @classmethod
    def look(cls, models: Path) -> FolderScan:
        """What lies there now.

        Raises:
            OSError: the folder of models itself cannot be looked into, or is none.
        """
        found, unreadable = {}, {}
        for name in bundle.list_models(models):
            try:
                found[name] = bundle.list_versions(models / name)
            except OSError as error:
                unreadable[name] = str(error)
        if not found:
            os.scandir(models).close()  # which says so if there is no such folder
        return cls(found, unreadable)


def require_models_folder(models: Path) -> None:
    """Refuse a folder from which nothing will ever be served; an empty one is waited for.

    Raises:
        NotADirectoryError: If it does not exist, is no folder that can be read, or is the folder of
            one model or version.
    """
    try:
        is_lower = not bundle.list_models(models) and _is_model_or_version(models)
        os.scandir(models).close()
    except OSError as error:
        raise NotADirectoryError(_format_missing_models(models, error)) from error
    if is_lower:
        raise NotADirectoryError(_format_missing_models(models))


def _format_missing_models(models: Path, error: OSError | None = None) -> str:
    return f"expected a folder of models, NAME/VERSION; got {models}, {explain_missing_models(models, error)}"


def _is_model_or_version(folder: Path) -> bool:
    """Return whether a folder is that of one model, or of one version."""
    return bool(bundle.list_versions(folder)) or (folder / bundle.MANIFEST_FILE).is_file()


def find_ignored_folders(models: Path) -> Iterator[tuple[str, str, str]]:
    """Yield model, name and reason of what lies there like a version and is none.

    Of a folder without a version only what holds a bundle counts: it may be of no model at all.
    """
    try:
        folders = sorted(path for path in models.iterdir() if path.is_dir())
    except OSError:
        return
    for folder in folders:
        try:
            found = {} if folder.name.startswith(".") else bundle.find_ignored_entries(folder)
            is_model = bool(bundle.list_versions(folder))
        except OSError:
            continue
        for name, reason in found.items():
            if (
                is_model
                or name == bundle.MANIFEST_FILE
                or (folder / name / bundle.MANIFEST_FILE).exists()
            ):
                yield _shorten_name(folder.name), _shorten_name(name), reason


def _shorten_name(name: str) -> str:
    """Return a file's name as JSON can hold it, and not longer than an entry may be."""
    text = name.encode(errors="surrogateescape").decode(errors="replace")
    return text if len(text) <= MAX_NAME_CHARACTERS else f"{text[: MAX_NAME_CHARACTERS - 3]}..."


def explain_missing_models(models: Path, error: OSError | None = None) -> str:
    """Why no model was found in a folder."""
    if isinstance(error, PermissionError):  # also of a folder on the way to it
        return f"which cannot be read: {error.strerror}"
    if not models.is_dir():
        kind = "a link that leads to no folder" if models.is_symlink() else "a file"
        exists = models.is_symlink() or models.exists()
        return f"which is {kind}" if exists else "which does not exist"
    return f"which {'cannot be read: ' + str(error.strerror) if error else _explain_folder_content(models)}"


def _explain_folder_content(models: Path) -> str:
    if _is_model_or_version(models):
        whole = models.absolute()
        one, right = (
            ("model", whole.parent)
            if bundle.list_versions(models)
            else ("version", whole.parent.parent)
        )
        return f"is one {one}; give the folder of all models, {right}"
    folders = sorted(path for path in models.iterdir() if path.is_dir())
    staged = next((path.name for path in folders if bundle.list_staged_versions(path)), None)
    if staged is not None:
        remedy = f"promote one: serving promote --models {models} {staged}"
        return f"holds staged versions only; {remedy}"
    for model, name, reason in find_ignored_folders(models):
        return f"holds no version; {model}/{name} is {reason}"
    return f"holds none; train one: trainer fit digits --models {models}"
