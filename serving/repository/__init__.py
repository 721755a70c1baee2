"""The model repository: finds versions in a folder and rolls each out to all workers.

HTTP handlers call `repository`, and look up models in `loaded_models`. `reconciler` makes the
versions that one worker serves match the folder and the overrides. The package may import
`runtime`, `codec`, `telemetry`, `bundle` and the modules directly below `serving`, but no higher
layer.
"""

from serving.repository.loaded_models import ServedModel
from serving.repository.repository import Repository
from serving.repository.repository_options import RepositoryOptions

__all__ = ["Repository", "RepositoryOptions", "ServedModel"]
