"""The repository: versions that come and go while the server answers.

- `repository`: the whole: what requests find, what administrators ask for, the watch
- `catalogue`: which version answers a request
- `keeper`: one worker's part: proves, says so, swaps
- `plan`: what all workers agree on, and how a version is rolled out to them
- `outlook`: what lies in the folder and what was asked for, as it was read last
- `wish`: which versions should be served, by the folder and the state
- `shelf`: what lies in the folder
- `stamps`: what tells one content of a version's folder from another
- `admission`: which new versions are held, since clients of the live one could not use them
- `live_record`: which versions were live, for the next start
- `states`: what has become of every version, as the index tells it
- `state`: pinned versions and unloaded models, in a file that outlives the server
- `served`: a version that has proved itself here
- `aside`: work that must not hold the worker's loop
"""

from serving.repository.loaded_models import ServedModel
from serving.repository.repository import Repository

__all__ = ["Repository", "ServedModel"]
