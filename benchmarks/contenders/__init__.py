"""The servers that the benchmarks compare, one folder each: how each is installed and started.

`requirements.txt` pins everything in a contender's environment. `app.py` (Triton: `model.py`) runs
in that environment, follows the contender's documentation on speed, and runs ONNX Runtime through
`app_library/onnx_network.py` like all others.
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

CONTENDERS = {
    contender.name: contender
    for module in (ours, constant, triton, fastapi, mosec, mlserver, litserve, bentoml, ray)
    for contender in module.CONTENDERS
}
