"""The folder of a bundle, and the folders of a repository: `models/<name>/<version>/`.

Every file of a bundle is compared with its checksum in the manifest whenever it is read.
"""

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
# Prefix of the folder name of a staged version. Servers ignore such a folder, since only folders
# named 1, 2, 3 … are versions. Promotion renames the folder to its number.
STAGED_PREFIX = "staged-"
VERSION_PATTERN = r"[1-9][0-9]{0,8}"  # regular expression of a version number


@dataclass(frozen=True)
class Bundle:
    """A version's folder and its manifest.

    Attributes:
        path: Folder of the version.
        manifest: Content of bundle.json.
        root: Folder that must contain the files after links are resolved; None for no restriction.
        limits: Limits of the files.
    """

    path: Path
    manifest: Manifest
    root: Path | None = None
    limits: BundleLimits = DEFAULT_BUNDLE_LIMITS

    @classmethod
    def open(
        cls, path: Path, root: Path | None = None, limits: BundleLimits = DEFAULT_BUNDLE_LIMITS
    ) -> Bundle:
        """Read and validate the manifest of a version.

        Args:
            path: Folder `models/<name>/<version>` or `models/<name>/staged-<version>`.
            root: Folder that must contain the files after links are resolved, for a repository
                whose content is not trusted; None for no restriction.
            limits: Limits of the files.

        Raises:
            BundleError: If the manifest is missing, invalid, outside `root`, or names another
                model or version than its folder.
        """
        content = read_regular_file(
            path, MANIFEST_FILE, root, limits.manifest_bytes, "--max-manifest-bytes"
        )
        try:
            manifest = Manifest.model_validate_json(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the top level"
            raise BundleError(
                f"{path}: {MANIFEST_FILE} is not valid at {where}: {first['msg']}"
            ) from None
        allowed_names = (str(manifest.version), f"{STAGED_PREFIX}{manifest.version}")
        if manifest.name != path.parent.name or path.name not in allowed_names:
            raise BundleError(
                f"{path}: expected the manifest of {path.parent.name}/{path.name}; got the "
                f"manifest of {manifest.name}/{manifest.version}"
            )
        return cls(path, manifest, root, limits)

    @property
    def checksums(self) -> dict[str, str]:
        """SHA-256 of every file except the manifest, in hexadecimal, by file name."""
        variants = self.manifest.variants.values()
        return {variant.file: variant.sha256 for variant in variants} | self.manifest.files

    def read_file(self, file: str) -> bytes:
        """Return the content of a file after comparing it with its checksum.

        Args:
            file: Name of a file that the manifest lists.

        Raises:
            BundleError: If the manifest does not list the file, the file cannot be read, or it was
                altered after the export.
        """
        expected = self.checksums.get(file)
        if expected is None:
            raise BundleError(f"{self.path}: the manifest does not list {file}")
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
        """Return the content of a variant's ONNX file.

        Args:
            variant: Name of a variant of the manifest.

        Raises:
            BundleError: If `read_file` refuses the file, it is not an ONNX graph, it keeps weights
                in other files, or it contains a loop that the limits do not allow.
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
                f"{self.path}: expected {file} to contain all of its weights; got "
                f"{tensor[:64]!r} as external data; export it in one file"
            )
        if loop is not None:
            raise BundleError(
                f"{self.path}: expected {file} without operators that repeat a part of the graph; "
                f"got {loop}, which may never end; serve it with --allow-loops true if you "
                f"trust it"
            )
        return content

    def read_selftest(self) -> SelfTest:
        """Return the golden inputs and the outputs that each variant has to compute.

        Raises:
            BundleError: If `read_file` refuses the file, or it is not a valid self-test.
        """
        return SelfTest.from_bytes(self.read_file(SELFTEST_FILE), self.limits.selftest_bytes)


def list_models(models: Path) -> list[str]:
    """Return the sorted names of the models in a repository.

    A model is a folder that contains a version, or that cannot be read.

    Args:
        models: Folder of the repository.
    """
    if not models.is_dir():
        return []
    return sorted(p.name for p in models.iterdir() if p.is_dir() and _may_hold_version(p))


def _may_hold_version(model: Path) -> bool:
    try:
        return bool(list_versions(model))
    except OSError:  # the error is reported later for this model only, so others are served
        return True


def find_ignored_entries(model: Path) -> dict[str, str]:
    """Return the entries of a model's folder that look like versions but are not.

    Hidden entries are left out, for example those of a file manager or of an export in progress.
    Files are left out too, unless their name is a version number or that of a manifest.

    Args:
        model: Folder of the model.

    Returns:
        Reason why each entry is not served, by the entry's name.
    """
    reasons = {}
    for path in sorted(model.iterdir()):
        is_number, is_folder = bool(re.fullmatch(VERSION_PATTERN, path.name)), path.is_dir()
        if path.name.startswith(".") or (is_number and (is_folder or path.is_symlink())):
            continue
        if is_number:
            reasons[path.name] = "ignored: expected a version's folder; got a file of that name"
        elif path.name == MANIFEST_FILE:
            reasons[path.name] = (
                f"ignored: expected a bundle in the folder of its version, {model.name}/1; got it "
                f"in the folder of the model; move its files there"
            )
        elif is_folder and re.fullmatch(STAGED_PREFIX + VERSION_PATTERN, path.name):
            reasons[path.name] = "staged: it is served once `serving promote` has made it a version"
        elif is_folder or path.is_symlink():
            reasons[path.name] = (
                "ignored: expected a version's folder to be named by a whole number of 1 to 9 "
                "digits without a leading 0, for example 3; rename it to have it served"
            )
    return reasons


def list_versions(model: Path) -> list[int]:
    """Return the version numbers in a model's folder in ascending order.

    Only folders and symbolic links named 1, 2, 3 … are versions. A broken link counts, so that
    loading it reports the error.

    Args:
        model: Folder of the model.
    """
    return _list_numbered_folders(model, "")


def list_staged_versions(model: Path) -> list[int]:
    """Return the numbers of the staged versions in a model's folder in ascending order.

    Args:
        model: Folder of the model.
    """
    return _list_numbered_folders(model, STAGED_PREFIX)


def _list_numbered_folders(model: Path, prefix: str) -> list[int]:
    if not model.is_dir():
        return []
    return sorted(
        int(p.name.removeprefix(prefix))
        for p in model.iterdir()
        if re.fullmatch(prefix + VERSION_PATTERN, p.name) and (p.is_dir() or p.is_symlink())
    )
