"""Folders: what lies where in a version and a repository; each file is held to its sum."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from serving.bundle.external_data import MalformedGraphError, find_external_data, find_loop_operator
from serving.bundle.files import BundleLimits, read_regular_file
from serving.bundle.manifest import (
    MANIFEST_FILE,
    REFERENCE_FILE,
    SELFTEST_FILE,
    BundleError,
    Manifest,
)
from serving.bundle.selftest import SelfTest

DEFAULT_BUNDLE_LIMITS = BundleLimits()
# Prefix of the folder's name of a staged version. No server loads such a folder, since only folders
# named 1, 2, 3 … are versions; promoting it renames it to its number.
STAGED_PREFIX = "staged-"
VERSION_PATTERN = r"[1-9][0-9]{0,8}"  # a version's


@dataclass(frozen=True)
class Bundle:
    """A version's folder and its manifest.

    Attributes:
        path: of the folder.
        manifest: what the folder holds.
        root: the folder that its files must really lie in; anywhere if None.
        limits: Limits of what the files hold.
    """

    path: Path
    manifest: Manifest
    root: Path | None = None
    limits: BundleLimits = DEFAULT_BUNDLE_LIMITS

    @classmethod
    def open(
        cls, path: Path, root: Path | None = None, limits: BundleLimits = DEFAULT_BUNDLE_LIMITS
    ) -> Bundle:
        """Read and check the manifest of `path`, models/<name>/<version> or `…/staged-<version>`.

        Args:
            path: the folder.
            root: what its files must really lie in, where others than the user put them there.
            limits: Limits of what its files hold.

        Raises:
            BundleError: there is none, it is not valid, it lies elsewhere, or it belongs to
                another folder.
        """
        content = read_regular_file(
            path, MANIFEST_FILE, root, limits.manifest_bytes, "--max-manifest-bytes"
        )
        try:
            manifest = Manifest.model_validate_json(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the whole"
            raise BundleError(
                f"{path}: {MANIFEST_FILE} is not valid at {where}: {first['msg']}"
            ) from None
        own = (str(manifest.version), f"{STAGED_PREFIX}{manifest.version}")
        if manifest.name != path.parent.name or path.name not in own:
            raise BundleError(
                f"{path}: expected the manifest of {path.parent.name}/{path.name}; got that of "
                f"{manifest.name}/{manifest.version}"
            )
        return cls(path, manifest, root, limits)

    @property
    def checksums(self) -> dict[str, str]:
        """The sha256 of every file of the bundle but the manifest, by file name."""
        variants = self.manifest.variants.values()
        return {variant.file: variant.sha256 for variant in variants} | self.manifest.files

    def read_file(self, file: str) -> bytes:
        """A file of the bundle, whole.

        Raises:
            BundleError: the manifest lists no such file, it cannot be read, or it is not the one
                that was exported.
        """
        expected = self.checksums.get(file)
        if expected is None:
            raise BundleError(f"{self.path}: the manifest lists no {file}")
        limits = {
            SELFTEST_FILE: (self.limits.selftest_bytes, "--max-selftest-bytes"),
            REFERENCE_FILE: (self.limits.manifest_bytes, "--max-manifest-bytes"),
        }
        graph = self.limits.graph_bytes, "--max-graph-bytes"
        content = read_regular_file(self.path, file, self.root, *limits.get(file, graph))
        got = hashlib.sha256(content).hexdigest()
        if got != expected:
            raise BundleError(
                f"{self.path}: {file} was altered after export: expected sha256 {expected[:12]}…, "
                f"got {got[:12]}…; export it again"
            )
        return content

    def read_graph(self, variant: str) -> bytes:
        """The ONNX file of a variant, held to the limits.

        Raises:
            BundleError: As `content` does; if it is no graph, or holds what is not allowed.
        """
        file = self.manifest.variants[variant].file
        content = self.read_file(file)
        try:
            tensor = find_external_data(content)
            loop = None if self.limits.allow_loops else find_loop_operator(content)
        except MalformedGraphError as error:
            raise BundleError(f"{self.path}: expected {file} as an ONNX graph; {error}") from error
        if tensor is not None:
            raise BundleError(
                f"{self.path}: expected {file} to hold all of its weights; got {tensor[:64]!r} as "
                f"external data; export it in one file"
            )
        if loop is not None:
            raise BundleError(
                f"{self.path}: expected {file} without operators that repeat a part of the graph; "
                f"got {loop}, whose runs may have no end; serve it with --allow-loops true if you "
                f"trust it"
            )
        return content

    def read_selftest(self) -> SelfTest:
        """The golden inputs and expected outputs; raises as `content` does."""
        return SelfTest.from_bytes(self.read_file(SELFTEST_FILE), self.limits.selftest_bytes)


def list_models(models: Path) -> list[str]:
    """The models of a repository, sorted: its folders that hold a version, or cannot be read."""
    if not models.is_dir():
        return []
    return sorted(p.name for p in models.iterdir() if p.is_dir() and _may_hold_version(p))


def _may_hold_version(model: Path) -> bool:
    try:
        return bool(list_versions(model))
    except OSError:  # say so to who asks for it, and let the others be served
        return True


def find_ignored_entries(model: Path) -> dict[str, str]:
    """Return entries of a model's folder that look like versions but are none, with the reasons.

    Hidden entries are left out, such as what a desktop or an export leaves while it writes; so are
    files, unless they are called like a version or are a bundle without a folder of its own.

    Args:
        model: Folder of the model.
    """
    found = {}
    for path in sorted(model.iterdir()):
        is_number, is_folder = bool(re.fullmatch(VERSION_PATTERN, path.name)), path.is_dir()
        if path.name.startswith(".") or (is_number and (is_folder or path.is_symlink())):
            continue
        if is_number:
            found[path.name] = "ignored: expected a version's folder; got a file of that name"
        elif path.name == MANIFEST_FILE:
            found[path.name] = (
                f"ignored: expected a bundle in the folder of its version, {model.name}/1; got it "
                f"in that of the model; move its files there"
            )
        elif is_folder and re.fullmatch(STAGED_PREFIX + VERSION_PATTERN, path.name):
            found[path.name] = "staged: it is served once `serving promote` has made it a version"
        elif is_folder or path.is_symlink():
            found[path.name] = (
                "ignored: expected a version's folder to be named by a whole number of 1 to 9 "
                "digits, the first of them not 0, such as 3; rename it to have it served"
            )
    return found


def list_versions(model: Path) -> list[int]:
    """The version numbers in a model's folder, ascending.

    Only folders named 1, 2, 3 … count, and links, which may lead nowhere: whatever else lies there
    is no version.
    """
    return _list_numbered_folders(model, "")


def list_staged_versions(model: Path) -> list[int]:
    """Return the numbers of the staged versions in a model's folder, ascending."""
    return _list_numbered_folders(model, STAGED_PREFIX)


def _list_numbered_folders(model: Path, prefix: str) -> list[int]:
    if not model.is_dir():
        return []
    return sorted(
        int(p.name.removeprefix(prefix))
        for p in model.iterdir()
        if re.fullmatch(prefix + VERSION_PATTERN, p.name) and (p.is_dir() or p.is_symlink())
    )
