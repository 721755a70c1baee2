"""The loaded models of one worker, among which a request's model and version are looked up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from serving.bundle import Manifest
from serving.codec.input_schema import InputSchema
from serving.errors import ModelNotFoundError, ModelRequiredError, NotReadyError
from serving.repository.folder_scan import MAX_NAME_CHARACTERS
from serving.repository.rollout import VersionSnapshot
from serving.runtime import GraphSession
from serving.runtime.latency_profile import LatencyProfile
from serving.runtime.variant_selection import VariantCheck

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A loaded version that has passed its self-test on this machine.

    A request holds a reference until it ends. The session is freed with the last reference. Two
    instances are never equal, even if they were loaded from the same files.

    Attributes:
        manifest: Manifest of the version.
        input_schema: Columns of the manifest, with the validators that decode a request's rows.
        variant: Name of the served variant.
        session: Session that runs the variant's graph, warmed up with batches of several sizes.
        variant_reason: Reason, as a sentence, why this variant was selected.
        variant_checks: Result of each variant's self-test on this machine, by variant name.
        latency_profile: Duration of the session's runs on this machine, by batch size.
    """

    manifest: Manifest
    input_schema: InputSchema
    variant: str
    session: GraphSession
    variant_reason: str
    variant_checks: dict[str, VariantCheck]
    latency_profile: LatencyProfile

    @cached_property
    def metric_labels(self) -> tuple[str, str, str]:
        """Name, version and variant, as metrics and logs show them."""
        return self.manifest.name, str(self.manifest.version), self.variant


# Versions with their loaded models; each snapshot holds the decision which variant is served.
LoadedVersions = list[tuple[VersionSnapshot, ServedModel]]


class LoadedModels:
    """The versions of each model that this worker serves, and why it does not serve others.

    Args:
        default_model: Name of the default model, which serves requests without a model name; None
            for the first model that was ever served alone, even if that was before a restart.

    Attributes:
        live_models: Live version of each model, by its name. The dict is replaced, never changed,
            so that readers keep a consistent snapshot.
        refusal_reasons: Reason for each refused version (key `NAME/VERSION`), for each refused
            variant of a served version (key `NAME/VERSION/VARIANT`), and for each folder or state
            file that cannot be read (key: its name).
        hold_reasons: Reason for each held version, by `NAME/VERSION`.
        intended_default: Name of the default model, whether or not it is served now; None if there
            is no default model.
        is_default_configured: Whether `default_model` was given.
    """

    def __init__(self, default_model: str | None = None) -> None:
        self.intended_default, self.is_default_configured = default_model, default_model is not None
        self.live_models: dict[str, ServedModel] = {}
        self.refusal_reasons: dict[str, str] = {}
        self.hold_reasons: dict[str, str] = {}
        self._versions: dict[str, dict[int, ServedModel]] = {}

    def find_model(self, name: str | None, version: int | None = None) -> ServedModel:
        """Return the loaded model that serves a request.

        Args:
            name: Name of the model; None for the default model.
            version: Number of the version; None for the live one.

        Raises:
            NotReadyError: If no model is served, or no version of this one.
            ModelNotFoundError: If there is no model of this name, or not in this version.
            ModelRequiredError: If no name is given and there is no default model.
        """
        live_models, requested = self.live_models, name
        if name is None:
            is_sole_model = len(live_models) == 1
            name = self.intended_default or (next(iter(live_models)) if is_sole_model else None)
        model = live_models.get(name) if name is not None else None
        if model is None:
            raise self._explain_absence(requested)
        if version is None:
            return model
        versions = self._versions.get(model.manifest.name, {})
        try:
            return versions[version]
        except KeyError:
            served = sorted(versions)
            hint = "to serve more of the versions in the folder, raise --keep"
            reasons = {**self.refusal_reasons, **self.hold_reasons}
            raise ModelNotFoundError(
                f"expected a version of {model.manifest.name} out of "
                f"{', '.join(map(str, served))}; got {version}; "
                f"{reasons.get(f'{model.manifest.name}/{version}', hint)}",
                versions=served,
            ) from None

    @property
    def default_model(self) -> str | None:
        """Name of the default model, or of the only model; None if that is not served."""
        if self.intended_default is None and len(self.live_models) == 1:
            return next(iter(self.live_models))
        return self.intended_default if self.intended_default in self.live_models else None

    def set_intended_default(self, name: str | None) -> None:
        """Set the default model, unless `default_model` was given.

        Args:
            name: Name of the model; None for no model.
        """
        if not self.is_default_configured:
            self.intended_default = name

    def get_versions(self, name: str) -> dict[int, ServedModel]:
        """Return the served versions of a model by number. The caller must not change the dict."""
        return self._versions.get(name, {})

    def replace_versions(self, name: str, models: Sequence[ServedModel]) -> None:
        """Replace the served versions of a model.

        Args:
            name: Name of the model.
            models: Loaded versions, the live one first; empty to stop serving the model.
        """
        versions = {model.manifest.version: model for model in models}
        self._versions = _copy_with(self._versions, name, versions or None)
        self.live_models = _copy_with(self.live_models, name, models[0] if models else None)

    @property
    def no_default_reason(self) -> str:
        """Reason, as a clause, why requests without a model name cannot be served."""
        if self.intended_default is None:
            return "several models are served"
        if self.is_default_configured:
            return f"{self.intended_default}, the model of --default-model, is not served"
        return f"{self.intended_default}, which answered requests that name none, is not served"

    def _explain_absence(
        self, name: str | None
    ) -> NotReadyError | ModelNotFoundError | ModelRequiredError:
        """Return the error for a request for which no model is served.

        Args:
            name: Name of the requested model; None for the default model.
        """
        served = sorted(self.live_models)
        if not served:
            return NotReadyError(
                "expected a model that is loaded and passed its self-test; none is; "
                "POST /v2/repository/index says why"
            )
        wanted = self.intended_default if name is None else name
        all_reasons = {**self.refusal_reasons, **self.hold_reasons}
        reasons = [reason for key, reason in all_reasons.items() if key.split("/")[0] == wanted]
        if reasons:
            return NotReadyError(f"expected a version of {wanted} to be served; {reasons[0]}")
        if name is None:
            return self._build_no_default_error(served)
        return ModelNotFoundError(
            f"expected a model out of {', '.join(served)}; got {name[:MAX_NAME_CHARACTERS]!r}",
            models=served,
        )

    def _build_no_default_error(self, served: list[str]) -> ModelNotFoundError | ModelRequiredError:
        """Return the error for a request that names no model while no default model is served."""
        # Never use another model instead: its predictions may have other classes or another unit.
        message = (
            f"expected ?model=NAME, since {self.no_default_reason}; got none; choose one of "
            f"{', '.join(served)}"
        )
        if self.is_default_configured:
            return ModelNotFoundError(message, models=served)
        message += ", or start the server with --default-model NAME"
        return ModelRequiredError(message, models=served)


def _copy_with(items: dict[str, T], name: str, value: T | None) -> dict[str, T]:
    """Return a copy, sorted by name, with the value of one name replaced.

    Args:
        items: Values by name.
        name: Name of the value to replace.
        value: New value; None to remove the name.
    """
    changed = {key: item for key, item in items.items() if key != name}
    if value is not None:
        changed[name] = value
    return dict(sorted(changed.items()))
