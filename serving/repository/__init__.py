"""The model repository: finds versions in a folder and rolls each out to all workers.

`repository` is what HTTP handlers call, `loaded_models` what they look models up in; `reconciler`
is the loop of one worker that makes what it serves match the folder and the overrides. The package
imports `runtime`, `telemetry`, `bundle` and the modules beside the packages, and nothing above it.
"""

from serving.repository.loaded_models import ServedModel
from serving.repository.repository import Repository

__all__ = ["Repository", "ServedModel"]
