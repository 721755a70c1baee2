"""The sides of the benchmark, one folder each: how it is installed, started and asked.

`requirements.txt` holds all that its environment has, to the version; `app.py` (`model.py`) runs in
there, in the way its documentation recommends for speed, and calls ONNX Runtime as all others do.
"""

from benchmarks.contenders import (
    bentoml,
    constant,
    fastapi,
    litserve,
    mlserver,
    mosec,
    ours,
    ray,
    triton,
)

SIDES = {
    side.name: side
    for module in (ours, constant, triton, fastapi, mosec, mlserver, litserve, bentoml, ray)
    for side in module.SIDES
}
