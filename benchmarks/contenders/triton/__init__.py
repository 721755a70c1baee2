"""Triton: `tritonserver` itself, with its Python backend, out of the wheel nvidia-pytriton.

The wheel's dependencies are those of its Python client: only what the backend runs is installed.
numpy stays below 2, which the backend's program was not built for: it would take an int64 tensor
for another size.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig

from benchmarks.contenders.contender import INSIDE, WORKERS, Command, Place, Side, copy
from benchmarks.contenders.encodings import V2, V2_BINARY
from benchmarks.contenders.workloads import LIGHT

CONFIG = """\
backend: "python"
max_batch_size: 64
input {{ name: "features" data_type: TYPE_FP32 dims: 784 }}
output {{ name: "label" data_type: TYPE_INT64 dims: 1 }}
output {{ name: "probabilities" data_type: TYPE_FP32 dims: 10 }}
instance_group {{ count: {workers} kind: KIND_CPU }}
dynamic_batching {{ }}
"""


def _start(place: Place) -> Command:
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = place.environment / "lib" / python / "site-packages"
    wheel = site / "pytriton" / "tritonserver"
    # The backend looks for its library, its helpers and its stub in one folder.
    backend = place.folder / "backends" / "python"
    shutil.copytree(wheel / "backends" / "python", backend)
    stub = wheel / "python_backend_stubs" / python.removeprefix("python")
    shutil.copy(stub / "triton_python_backend_stub", backend)
    models = place.folder / "models"
    copy("triton", "model.py", models / place.network / "1")
    config = CONFIG.format(workers=WORKERS)
    (models / place.network / "config.pbtxt").write_text(config, encoding="utf-8")
    http, metrics, _ = map(str, place.ports)
    arguments = [
        str(wheel / "bin" / "tritonserver"),
        "--model-repository",
        str(models),
        "--backend-directory",
        str(backend.parent),
        "--http-address",
        "127.0.0.1",
        "--http-port",
        http,
        "--allow-grpc",
        "false",
        "--metrics-address",
        "127.0.0.1",
        "--metrics-port",
        metrics,
    ]
    libraries = [str(site / "nvidia_pytriton.libs"), sysconfig.get_config_var("LIBDIR")]
    return Command(
        arguments,
        {
            "LD_LIBRARY_PATH": os.pathsep.join(libraries),
            "SITE": os.pathsep.join([str(INSIDE), str(site)]),
        },
    )


SIDES = (
    Side("triton", _start, V2, peer="triton", package="nvidia-pytriton"),
    Side("triton-binary", _start, V2_BINARY, "triton", "nvidia-pytriton", LIGHT),
)
