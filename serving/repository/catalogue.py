"""The catalogue: which version answers a request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from serving.errors import ModelNotFoundError, ModelRequiredError, NotReadyError
from serving.repository.served import ServedModel

T = TypeVar("T")

SHOWN = 64  # characters of a name that came


class Catalogue:
    """The served versions of each model, and the reason for all that was refused.

    Attributes:
        served: by model name, the version that answers when none is named. Replaced, never changed:
            who has it goes on with what it was.
        refused: reasons, by `name/version`, by `name/version/variant` where others of the version
            passed, by `name` of a folder that cannot be read, or by the name of the state's file.
    """

    def __init__(self) -> None:
        self.served: dict[str, ServedModel] = {}
        self.refused: dict[str, str] = {}
        self._versions: dict[str, dict[int, ServedModel]] = {}

    def find(self, name: str | None, version: int | None = None) -> ServedModel:
        """The model of that name, or the only one there is, and its version or the one by default.

        Raises:
            NotReadyError: none is served.
            ModelNotFoundError: none of that name, or not that version, is served.
            ModelRequiredError: several are served and no name is given.
        """
        served = self.served
        if name is None and len(served) == 1:
            name = next(iter(served))
        model = served.get(name) if name is not None else None
        if model is None:
            raise self._absent(name)
        if version is None:
            return model
        versions = self._versions.get(model.manifest.name, {})
        try:
            return versions[version]
        except KeyError:
            known = sorted(versions)
            raise ModelNotFoundError(
                f"expected a version of {name} out of {', '.join(map(str, known))}; got {version}; "
                f"those that lie in the folder besides are served with a larger --keep",
                versions=known,
            ) from None

    def versions(self, name: str) -> dict[int, ServedModel]:
        """The versions of a model that are served, by number; not to be changed."""
        return self._versions.get(name, {})

    def swap(self, name: str, models: Sequence[ServedModel]) -> None:
        """Have these versions of a model answer from here on, the first of them by default."""
        versions = {model.manifest.version: model for model in models}
        self._versions = _with(self._versions, name, versions or None)
        self.served = _with(self.served, name, models[0] if models else None)

    def _absent(self, name: str | None) -> NotReadyError | ModelNotFoundError | ModelRequiredError:
        known = sorted(self.served)
        if not known:
            return NotReadyError(
                "expected a model that is loaded and passed its self-test; none is; "
                "POST /v2/repository/index says why"
            )
        if name is None:
            return ModelRequiredError(
                f"expected ?model=NAME, since several models are served; "
                f"got none; choose one of {', '.join(known)}",
                models=known,
            )
        reasons = [reason for key, reason in self.refused.items() if key.split("/")[0] == name]
        if reasons:
            return NotReadyError(f"expected a version of {name} that proves itself; {reasons[0]}")
        return ModelNotFoundError(
            f"expected a model out of {', '.join(known)}; got {name[:SHOWN]!r}", models=known
        )


def _with(known: dict[str, T], name: str, value: T | None) -> dict[str, T]:
    """A copy in which the name has this value, or none; in the names' order."""
    changed = {key: found for key, found in known.items() if key != name}
    if value is not None:
        changed[name] = value
    return dict(sorted(changed.items()))
