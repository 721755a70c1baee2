"""Ray Serve in its mode for throughput: HAProxy in front of two replicas, five times its default.

HAProxy's two ports for its own statistics listen on all addresses; no setting changes that.
"""

from __future__ import annotations

from benchmarks.contenders.contender import Contender, Placement, StartCommand, locate_app
from benchmarks.contenders.workloads import LIGHT_WORKLOAD_NAMES


def _make_command(placement: Placement) -> StartCommand:
    port, metrics, stats = map(str, placement.ports)
    haproxy = placement.folder / "haproxy"
    return StartCommand(
        [
            placement.locate_program("python"),
            locate_app("ray"),
            port,
            str(placement.folder / "ray"),
        ],
        {
            "RAY_AUTH_MODE": "disabled",  # otherwise it writes a token into the home folder
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
            "RAY_SERVE_ENABLE_HA_PROXY": "1",
            "RAY_SERVE_HAPROXY_METRICS_PORT": metrics,
            "RAY_SERVE_HAPROXY_STATS_PORT": stats,
            "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(haproxy / "haproxy.cfg"),
            "RAY_SERVE_HAPROXY_SOCKET_PATH": str(haproxy / "admin.sock"),
            "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(haproxy),
            "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(haproxy / "server-state"),
        },
    )


# Only the light workloads, because it takes half a minute to start and to stop.
CONTENDERS = (
    Contender(
        "ray",
        _make_command,
        environment_name="ray",
        package="ray",
        workload_names=LIGHT_WORKLOAD_NAMES,
    ),
)
