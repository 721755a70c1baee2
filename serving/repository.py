"""The repository: which versions are there, which are proved, which one answers."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

from serving import bundle
from serving.bundle import Bundle, BundleError, Manifest
from serving.errors import ModelNotFoundError, ModelRequiredError, NotReadyError
from serving.runtime import Difference, Session, first_proved

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A version that has passed its self-test on this machine; equal to itself alone.

    Attributes:
        manifest: what it is.
        variant: which of its graphs answers.
        session: runs that graph.
        selftest: how far its answers were from the expected ones.
    """

    manifest: Manifest
    variant: str
    session: Session
    selftest: Difference


@dataclass
class Repository:
    """The served version of each model, and the reason for each version that was refused.

    Attributes:
        served: by model name.
        refused: reasons, by `name/version`, or by `name` of a folder that cannot be read.
    """

    served: dict[str, ServedModel] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, models: Path) -> Repository:
        """Of every model in the folder, the highest version that proves itself.

        A version that does not is logged and passed over for the one before it.
        """
        repository = cls()
        try:
            names = bundle.names(models)
        except OSError as error:
            log.error("expected a readable folder of models; got %s", error)
            return repository
        for name in names:
            repository._load_model(models / name)
        if not names:
            log.error(
                "expected a folder of models, NAME/VERSION; got %s, %s", models, _fault(models)
            )
        return repository

    def find(self, name: str | None) -> ServedModel:
        """The model of that name, or the only one there is.

        Raises:
            NotReadyError: none is served.
            ModelNotFoundError: none of that name is served.
            ModelRequiredError: several are served and no name is given.
        """
        if name is None and len(self.served) == 1:
            return next(iter(self.served.values()))
        known = sorted(self.served)
        if not known:
            raise NotReadyError(
                "expected a model that passed its self-test; none did; see GET /readyz for why"
            )
        if name is None:
            raise ModelRequiredError(
                f"expected ?model=NAME, since several models are served; "
                f"got none; choose one of {', '.join(known)}",
                models=known,
            )
        reasons = [reason for key, reason in self.refused.items() if key.split("/")[0] == name]
        if name not in self.served and reasons:
            raise NotReadyError(f"expected a version of {name} that proves itself; {reasons[0]}")
        try:
            return self.served[name]
        except KeyError:
            raise ModelNotFoundError(
                f"expected a model out of {', '.join(known)}; got {name[:64]!r}", models=known
            ) from None

    def _load_model(self, folder: Path) -> None:
        try:
            found = bundle.versions(folder)
        except OSError as error:
            self.refused[folder.name] = _public(error, folder)
            log.error("refused %s: %s", folder.name, error)
            return
        for version in reversed(found):
            try:
                self.served[folder.name] = _prove(folder / str(version))
            except (BundleError, OSError) as error:
                self.refused[f"{folder.name}/{version}"] = _public(error, folder)
                log.error("refused %s/%s: %s", folder.name, version, error)
            else:
                log.info("serving %s/%s", folder.name, version)
                return


def _public(error: Exception, folder: Path) -> str:
    """The reason without the server's own paths, which are the log's business."""
    return str(error).replace(f"{folder.parent}/", "")


def _fault(models: Path) -> str:
    if not models.is_dir():
        return "which is a file" if models.exists() else "which does not exist"
    if bundle.versions(models):
        return f"which is one model; give its parent, {models.parent}"
    return f"which holds none; train one: trainer fit digits --models {models}"


def _prove(path: Path) -> ServedModel:
    opened = Bundle.open(path)
    variant, session, difference = first_proved(opened)
    return ServedModel(opened.manifest, variant, session, difference)
