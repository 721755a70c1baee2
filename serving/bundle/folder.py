"""Folders: what lies where in a version and a repository; each file is held to its sum."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from serving.bundle.manifest import MANIFEST, SELFTEST, BundleError, Manifest
from serving.bundle.selftest import SelfTest


@dataclass(frozen=True)
class Bundle:
    """A version's folder and its manifest."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: Path) -> Bundle:
        """Read and check the manifest of `path`, models/<name>/<version>.

        Raises:
            BundleError: there is none, it is not valid, or it belongs to another folder.
        """
        try:
            content = (path / MANIFEST).read_bytes()
        except OSError as error:
            raise BundleError(
                f"{path}: expected a readable {MANIFEST}; {error.strerror}"
            ) from error
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
        return cls(path, manifest)

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
        try:
            content = (self.path / file).read_bytes()
        except OSError as error:
            raise BundleError(
                f"{self.path}: expected a readable {file}; {error.strerror}"
            ) from error
        got = hashlib.sha256(content).hexdigest()
        if got != expected:
            raise BundleError(
                f"{self.path}: {file} was altered after export: expected sha256 {expected[:12]}…, "
                f"got {got[:12]}…; export it again"
            )
        return content

    def graph(self, variant: str) -> bytes:
        """The ONNX file of a variant; raises as `content` does."""
        return self.content(self.manifest.variants[variant].file)

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

    Only folders named 1, 2, 3 … count: whatever else lies there is no version.
    """
    if not model.is_dir():
        return []
    return sorted(
        int(p.name)
        for p in model.iterdir()
        if re.fullmatch(r"[1-9][0-9]{0,8}", p.name) and p.is_dir()
    )
