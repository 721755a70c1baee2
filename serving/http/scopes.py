"""Scopes: what a key must open for each route. What is not named here is for prediction."""

from __future__ import annotations

from serving.http.key_file import Scope

# Asked by orchestrators and load balancers, which have no keys; they say alive, ready, or not, and
# names of models and reasons only to a request with a key.
OPEN_ROUTES = {"/healthz", "/readyz", "/ping", "/v2/health/live", "/v2/health/ready"}
OPEN_ROUTES |= {"/docs", "/docs/<file>"}  # a page that shows nothing before it has asked for a key
# By endpoint, where Vertex AI may choose the path for something else that does need a key.
OPEN_ENDPOINTS = {"clouds.vertex_health", "index.index", "index.icon"}
ADMIN_ROUTE_PREFIX = (
    "/v2/repository/models/"  # and what follows: it changes which versions are served
)


def get_required_scope(rule: str | None, endpoint: str | None = None) -> Scope | None:
    """What a request for a route needs.

    Args:
        rule: of the route, as Flask has it; None where there is no such route.
        endpoint: its name there.

    Returns:
        The scope; None if it needs no key.
    """
    if rule is None:
        return "predict"
    if rule in OPEN_ROUTES or endpoint in OPEN_ENDPOINTS:
        return None
    return "admin" if rule.startswith(ADMIN_ROUTE_PREFIX) else "predict"
