"""Triton: `tritonserver` with its Python backend, from the wheel nvidia-pytriton.

Of the wheel's dependencies, which are those of its Python client, only what the backend runs is
installed. NumPy stays below 2, for which the backend's program is not built: it would read an int64
tensor with the wrong element size.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig

from benchmarks.contenders.contender import (
    APP_LIBRARY,
    WORKER_COUNT,
    Contender,
    Placement,
    StartCommand,
    copy_app_file,
)
from benchmarks.contenders.encodings import OPEN_INFERENCE, OPEN_INFERENCE_BINARY
from benchmarks.contenders.workloads import LIGHT_WORKLOAD_NAMES

CONFIG = """\
backend: "python"
max_batch_size: 64
input {{ name: "features" data_type: TYPE_FP32 dims: 784 }}
output {{ name: "label" data_type: TYPE_INT64 dims: 1 }}
output {{ name: "probabilities" data_type: TYPE_FP32 dims: 10 }}
instance_group {{ count: {workers} kind: KIND_CPU }}
dynamic_batching {{ }}
"""


def _make_command(placement: Placement) -> StartCommand:
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = placement.environment / "lib" / python / "site-packages"
    wheel = site / "pytriton" / "tritonserver"
    # The backend expects its library, its helpers and its stub in one folder.
    backend = placement.folder / "backends" / "python"
    shutil.copytree(wheel / "backends" / "python", backend)
    stub = wheel / "python_backend_stubs" / python.removeprefix("python")
    shutil.copy(stub / "triton_python_backend_stub", backend)
    models = placement.folder / "models"
    copy_app_file("triton", "model.py", models / placement.network / "1")
    config = CONFIG.format(workers=WORKER_COUNT)
    (models / placement.network / "config.pbtxt").write_text(config, encoding="utf-8")
    http, metrics, _ = map(str, placement.ports)
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
    return StartCommand(
        arguments,
        {
            "LD_LIBRARY_PATH": os.pathsep.join(libraries),
            "SITE": os.pathsep.join([str(APP_LIBRARY), str(site)]),
        },
    )


CONTENDERS = (
    Contender(
        "triton",
        _make_command,
        OPEN_INFERENCE,
        environment_name="triton",
        package="nvidia-pytriton",
    ),
    Contender(
        "triton-binary",
        _make_command,
        OPEN_INFERENCE_BINARY,
        environment_name="triton",
        package="nvidia-pytriton",
        workload_names=LIGHT_WORKLOAD_NAMES,
    ),
)
