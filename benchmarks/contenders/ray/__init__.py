"""Ray Serve in its mode for throughput: HAProxy before two replicas, five times its default.

HAProxy's two ports for figures about itself listen on every address; that cannot be set.
"""

from __future__ import annotations

from benchmarks.contenders.contender import Command, Place, Side, app
from benchmarks.contenders.workloads import LIGHT


def _start(place: Place) -> Command:
    port, metrics, stats = map(str, place.ports)
    haproxy = place.folder / "haproxy"
    return Command(
        [place.program("python"), app("ray"), port, str(place.folder / "ray")],
        {
            "RAY_AUTH_MODE": "disabled",  # else it writes a token into the home folder
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


# It takes half a minute to start and to end, so that once a round is enough.
SIDES = (Side("ray", _start, peer="ray", package="ray", loads=LIGHT),)
