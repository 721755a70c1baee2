"""The repository: which versions are there, which are proved, which one answers."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from serving import bundle
from serving.agreement import Ledger
from serving.bundle import Bundle, BundleError, Manifest
from serving.choice import AUTO, Trial, choose
from serving.errors import ModelNotFoundError, ModelRequiredError, NotReadyError
from serving.pace import Pace
from serving.runtime import GraphError, Session

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A version that has passed its self-test on this machine; equal to itself alone.

    Attributes:
        manifest: what it is.
        variant: which of its graphs answers.
        session: runs that graph.
        why: that one and no other answers, in a sentence.
        trials: how each of its graphs did here.
        pace: of its runs here.
    """

    manifest: Manifest
    variant: str
    session: Session
    why: str
    trials: dict[str, Trial]
    pace: Pace

    @cached_property
    def label(self) -> tuple[str, str, str]:
        """Name, version and variant, as metrics and logs say them."""
        return self.manifest.name, str(self.manifest.version), self.variant


@dataclass
class Repository:
    """The served version of each model, and the reason for all that was refused.

    Attributes:
        served: by model name.
        refused: reasons, by `name/version`, by `name/version/variant` where others of the version
            passed, or by `name` of a folder that cannot be read.
    """

    served: dict[str, ServedModel] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, models: Path, variant: str = AUTO, ledger: Ledger | None = None) -> Repository:
        """Of every model in the folder, the highest version that proves itself.

        A version that does not is logged and passed over for the one before it.

        Args:
            models: the folder.
            variant: to serve where there is one of that name, or "auto".
            ledger: where several processes keep which variants they serve.
        """
        repository = cls()
        try:
            names = bundle.names(models)
        except OSError as error:
            log.error("expected a readable folder of models; got %s", error)
            return repository
        for name in names:
            repository._load_model(models / name, variant, ledger)
        repository._look_for(variant)
        if not names:
            log.error(
                "expected a folder of models, NAME/VERSION; got %s, %s", models, _fault(models)
            )
        return repository

    def find(self, name: str | None, version: int | None = None) -> ServedModel:
        """The model of that name, or the only one there is.

        Args:
            name: of the model.
            version: of it; if none is given, the one that answers.

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
            model = self.served[name]
        except KeyError:
            raise ModelNotFoundError(
                f"expected a model out of {', '.join(known)}; got {name[:64]!r}", models=known
            ) from None
        if version not in (None, model.manifest.version):
            raise ModelNotFoundError(
                f"expected version {model.manifest.version} of {name}; got {version}"
            )
        return model

    def versions(self, name: str) -> dict[int, ServedModel]:
        """The versions of a model that are served, by number."""
        return {m.manifest.version: m for m in [self.served[name]]}

    def _load_model(self, folder: Path, variant: str, ledger: Ledger | None) -> None:
        try:
            found = bundle.versions(folder)
        except OSError as error:
            self.refused[folder.name] = _public(str(error), folder)
            log.error("refused %s: %s", folder.name, error)
            return
        for version in reversed(found):
            try:
                model = _prove(folder / str(version), variant, ledger)
            except (BundleError, GraphError, OSError) as error:
                self.refused[f"{folder.name}/{version}"] = _public(str(error), folder)
                log.error("refused %s/%s: %s", folder.name, version, error)
            else:
                self._serve(f"{folder.name}/{version}", model)
                return

    def _look_for(self, variant: str) -> None:
        """Say it loudly if no model has the variant that was asked for: most likely a typo."""
        known = sorted({name for model in self.served.values() for name in model.trials})
        if known and variant not in (AUTO, *known):
            log.warning("expected a variant out of %s; got %s; ignored", ", ".join(known), variant)

    def _serve(self, version: str, model: ServedModel) -> None:
        for variant, trial in model.trials.items():
            if not trial.passed:
                self.refused[f"{version}/{variant}"] = trial.reason
                log.warning("refused %s/%s: %s", version, variant, trial.reason)
        self.served[model.manifest.name] = model
        log.info("serving %s: %s", version, model.why)


def _public(reason: str, folder: Path) -> str:
    """The reason without the server's own paths, which are the log's business."""
    return reason.replace(f"{folder.parent}/", "")


def _fault(models: Path) -> str:
    if not models.is_dir():
        return "which is a file" if models.exists() else "which does not exist"
    if bundle.versions(models):
        return f"which is one model; give its parent, {models.parent}"
    return f"which holds none; train one: trainer fit digits --models {models}"


def _prove(path: Path, variant: str, ledger: Ledger | None) -> ServedModel:
    opened = Bundle.open(path)
    choice = choose(opened, variant, ledger)
    trials = {
        name: replace(trial, reason=_public(trial.reason, path.parent))
        for name, trial in choice.trials.items()
    }
    pace = Pace.measure(choice.session, opened.selftest().inputs)
    return ServedModel(opened.manifest, choice.variant, choice.session, choice.why, trials, pace)
