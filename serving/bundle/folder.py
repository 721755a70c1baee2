"""Folders: what lies where in a version and a repository; each file is held to its sum."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from serving.bundle.files import read
from serving.bundle.manifest import MANIFEST, SELFTEST, BundleError, Manifest
from serving.bundle.outside import MalformedError, outside_data
from serving.bundle.selftest import SelfTest


@dataclass(frozen=True)
class Bundle:
    """A version's folder and its manifest.

    Attributes:
        path: of the folder.
        manifest: what the folder holds.
        within: the folder that its files must really lie in; anywhere if None.
    """

    path: Path
    manifest: Manifest
    within: Path | None = None

    @classmethod
    def open(cls, path: Path, within: Path | None = None) -> Bundle:
        """Read and check the manifest of `path`, models/<name>/<version>.

        Args:
            path: the folder.
            within: what its files must really lie in, where others than the user put them there.

        Raises:
            BundleError: there is none, it is not valid, it lies elsewhere, or it belongs to
                another folder.
        """
        content = read(path, MANIFEST, within)
        try:
            manifest = Manifest.model_validate_json(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the whole"
            raise BundleError(
                f"{path}: {MANIFEST} is not valid at {where}: {first['msg']}"
            ) from None
        if (manifest.name, str(manifest.version)) != (path.parent.name, path.name):
            raise BundleError(
                f"{path}: expected the manifest of {path.parent.name}/{path.name}; got that of "
                f"{manifest.name}/{manifest.version}"
            )
        return cls(path, manifest, within)

    @property
    def sums(self) -> dict[str, str]:
        """The sha256 of every file of the bundle but the manifest, by file name."""
        variants = self.manifest.variants.values()
        return {variant.file: variant.sha256 for variant in variants} | self.manifest.files

    def content(self, file: str) -> bytes:
        """A file of the bundle, whole.

        Raises:
            BundleError: the manifest lists no such file, it cannot be read, or it is not the one
                that was exported.
        """
        expected = self.sums.get(file)
        if expected is None:
            raise BundleError(f"{self.path}: the manifest lists no {file}")
        content = read(self.path, file, self.within)
        got = hashlib.sha256(content).hexdigest()
        if got != expected:
            raise BundleError(
                f"{self.path}: {file} was altered after export: expected sha256 {expected[:12]}…, "
                f"got {got[:12]}…; export it again"
            )
        return content

    def graph(self, variant: str) -> bytes:
        """The ONNX file of a variant; raises as `content` does, and if weights are not in it."""
        file = self.manifest.variants[variant].file
        content = self.content(file)
        try:
            tensor = outside_data(content)
        except MalformedError as error:
            raise BundleError(f"{self.path}: expected {file} as an ONNX graph; {error}") from error
        if tensor is not None:
            raise BundleError(
                f"{self.path}: expected {file} to hold all of its weights; got {tensor[:64]!r} as "
                f"external data; export it in one file"
            )
        return content

    def selftest(self) -> SelfTest:
        """The golden inputs and expected outputs; raises as `content` does."""
        return SelfTest.from_bytes(self.content(SELFTEST))


def names(models: Path) -> list[str]:
    """The models of a repository, sorted: its folders that hold a version, or cannot be read."""
    if not models.is_dir():
        return []
    return sorted(p.name for p in models.iterdir() if p.is_dir() and _may_hold_a_version(p))


def _may_hold_a_version(model: Path) -> bool:
    try:
        return bool(versions(model))
    except OSError:  # say so to who asks for it, and let the others be served
        return True


def versions(model: Path) -> list[int]:
    """The version numbers in a model's folder, ascending.

    Only folders named 1, 2, 3 … count, and links, which may lead nowhere: whatever else lies there
    is no version.
    """
    if not model.is_dir():
        return []
    return sorted(
        int(p.name)
        for p in model.iterdir()
        if re.fullmatch(r"[1-9][0-9]{0,8}", p.name) and (p.is_dir() or p.is_symlink())
    )
