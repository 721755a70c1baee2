"""Models that are loaded: which version answers a request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from serving.bundle import Manifest
from serving.errors import ModelNotFoundError, ModelRequiredError, NotReadyError
from serving.runtime import GraphSession
from serving.runtime.latency_profile import LatencyProfile
from serving.runtime.variant_selection import VariantCheck


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A version that has passed its self-test on this machine; equal to itself alone.

    A request holds one from its start to its end. Its session is freed with the last that does.

    Attributes:
        manifest: what it is.
        variant: which of its graphs answers.
        session: runs that graph; it has run batches of several sizes, and is warm.
        variant_reason: that one and no other answers, in a sentence.
        variant_checks: how each of its graphs did here.
        pace: of its runs here.
    """

    manifest: Manifest
    variant: str
    session: GraphSession
    variant_reason: str
    variant_checks: dict[str, VariantCheck]
    latency_profile: LatencyProfile

    @cached_property
    def metric_labels(self) -> tuple[str, str, str]:
        """Name, version and variant, as metrics and logs say them."""
        return self.manifest.name, str(self.manifest.version), self.variant


T = TypeVar("T")
MAX_NAME_CHARACTERS = 64  # characters of a name that came


class LoadedModels:
    """The served versions of each model, and the reason for all that was refused.

    Attributes:
        live_models: by model name, the version that answers when none is named. Replaced, never changed:
            who has it goes on with what it was.
        refusal_reasons: reasons, by `name/version`, by `name/version/variant` where others of the version
            passed, by `name` of a folder that cannot be read, or by the name of the state's file.
        hold_reasons: Reasons by `name/version` of those that proved themselves and wait to be asked for.
        preferred: Name of the model that answers requests that name none, whether it is served or
            not; None while there is no such model.

    Args:
        default_model: Name of the model that answers requests that name none; None for the one
            that is or was served alone.
    """

    def __init__(self, default_model: str | None = None) -> None:
        self.intended_default, self.is_default_configured = default_model, default_model is not None
        self.live_models: dict[str, ServedModel] = {}
        self.refusal_reasons: dict[str, str] = {}
        self.hold_reasons: dict[str, str] = {}
        self._versions: dict[str, dict[int, ServedModel]] = {}

    def find_model(self, name: str | None, version: int | None = None) -> ServedModel:
        """The model of that name, or the default one, and its version or the one by default.

        Raises:
            NotReadyError: none is served.
            ModelNotFoundError: none of that name, or not that version, is served.
            ModelRequiredError: no name is given, and no model answers for that.
        """
        served, asked = self.live_models, name
        if name is None:
            name = self.intended_default or (next(iter(served)) if len(served) == 1 else None)
        model = served.get(name) if name is not None else None
        if model is None:
            raise self._explain_absence(asked)
        if version is None:
            return model
        versions = self._versions.get(model.manifest.name, {})
        try:
            return versions[version]
        except KeyError:
            known = sorted(versions)
            more = "those that lie in the folder besides are served with a larger --keep"
            reasons = {**self.refusal_reasons, **self.hold_reasons}
            raise ModelNotFoundError(
                f"expected a version of {model.manifest.name} out of "
                f"{', '.join(map(str, known))}; got {version}; "
                f"{reasons.get(f'{model.manifest.name}/{version}', more)}",
                versions=known,
            ) from None

    @property
    def default_model(self) -> str | None:
        """Name of the served model that answers requests that name none; None if none does."""
        if self.intended_default is None and len(self.live_models) == 1:
            return next(iter(self.live_models))
        return self.intended_default if self.intended_default in self.live_models else None

    def set_intended_default(self, name: str | None) -> None:
        """Have a model answer requests that name none, unless `default_model` was given."""
        if not self.is_default_configured:
            self.intended_default = name

    def get_versions(self, name: str) -> dict[int, ServedModel]:
        """The versions of a model that are served, by number; not to be changed."""
        return self._versions.get(name, {})

    def replace_versions(self, name: str, models: Sequence[ServedModel]) -> None:
        """Have these versions of a model answer from here on, the first of them by default."""
        versions = {model.manifest.version: model for model in models}
        self._versions = _copy_with(self._versions, name, versions or None)
        self.live_models = _copy_with(self.live_models, name, models[0] if models else None)

    def _explain_absence(
        self, name: str | None
    ) -> NotReadyError | ModelNotFoundError | ModelRequiredError:
        known = sorted(self.live_models)
        if not known:
            return NotReadyError(
                "expected a model that is loaded and passed its self-test; none is; "
                "POST /v2/repository/index says why"
            )
        wanted = self.intended_default if name is None else name
        known_reasons = {**self.refusal_reasons, **self.hold_reasons}
        reasons = [reason for key, reason in known_reasons.items() if key.split("/")[0] == wanted]
        if reasons:
            return NotReadyError(f"expected a version of {wanted} that proves itself; {reasons[0]}")
        if name is None:
            return self._build_no_default_error(known)
        return ModelNotFoundError(
            f"expected a model out of {', '.join(known)}; got {name[:MAX_NAME_CHARACTERS]!r}",
            models=known,
        )

    @property
    def no_default_reason(self) -> str:
        """Why no model answers requests that name none, as a clause."""
        if self.intended_default is None:
            return "several models are served"
        if self.is_default_configured:
            return f"{self.intended_default}, the model of --default-model, is not served"
        return f"{self.intended_default}, which answered requests that name none, is not served"

    def _build_no_default_error(self, known: list[str]) -> ModelNotFoundError | ModelRequiredError:
        """Return the error of a request that names no model, where no default model is served."""
        # Never another in its place: its answers would be of other classes, or of another unit.
        message = (
            f"expected ?model=NAME, since {self.no_default_reason}; got none; choose one of "
            f"{', '.join(known)}"
        )
        if self.is_default_configured:
            return ModelNotFoundError(message, models=known)
        message += ", or start the server with --default-model NAME"
        return ModelRequiredError(message, models=known)


def _copy_with(known: dict[str, T], name: str, value: T | None) -> dict[str, T]:
    """A copy in which the name has this value, or none; in the names' order."""
    changed = {key: found for key, found in known.items() if key != name}
    if value is not None:
        changed[name] = value
    return dict(sorted(changed.items()))
