"""Repositories that tests build and load in their own process."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from serving.repository import Repository, RepositoryOptions
from serving.repository.reconciler import OnOutcome
from serving.repository.repository import ignore_outcome
from serving.repository.shared_state import SharedState


def load_repository(
    models: Path,
    *,
    shared_state: SharedState | None = None,
    on_outcome: OnOutcome = ignore_outcome,
    proof_server: Any = None,
    clock: Callable[[], float] = time.monotonic,
    **options: Any,
) -> Repository:
    """Return a repository that has loaded its models.

    Args:
        models: Folder of models.
        shared_state: State shared with other repositories; None for a repository of its own.
        on_outcome: Callback for each version that is served, held, refused or unloaded.
        proof_server: Server that tests versions in separate processes, or a stand-in; None to load
            them without that test.
        clock: Function that returns the time in seconds.
        options: Values of `RepositoryOptions` by name.
    """
    repository = Repository(
        models,
        RepositoryOptions(**options),
        shared_state=shared_state,
        on_outcome=on_outcome,
        proof_server=proof_server,
        clock=clock,
    )
    repository.load()
    return repository
