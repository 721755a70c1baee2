"""Every knob of the server, declared once: name, default, unit, check, meaning.

Each is an option of `serving run`, an argument of `create_app`, and an environment variable:
`FORWARDPASS_` and its name, in capitals. A blank variable is unset; an argument may not be blank.
"""

from __future__ import annotations

import os
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator
from pydantic_settings import SettingsConfigDict

from serving.settings.cores import count_usable_cores
from serving.settings.environment import ENV_PREFIX, EnvironmentSettings, is_blank, is_service_link

VERSION = "0.1.0"  # of the server; an image holds no metadata of the package


def find_unknown_variables() -> list[str]:
    """Environment variables that look like a knob of ours and are none: most likely a typo."""
    known = {f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields}
    return sorted(
        name
        for name, value in os.environ.items()
        if name.startswith(ENV_PREFIX)
        and name not in known
        and not is_blank(value)
        and not is_service_link(name, value)
    )


def parse_networks(text: str) -> list[IPv4Network | IPv6Network] | None:
    """Return the networks of a list separated by commas; None if `*`, which is all, is one of them.

    Raises:
        ValueError: If one is neither an address nor a network.
    """
    parts = list(filter(None, map(str.strip, text.split(","))))
    networks = [ip_network(part) for part in parts if part != "*"]
    return None if "*" in parts else networks


def _check_networks(text: str) -> str:
    parse_networks(text)
    return text


class Settings(EnvironmentSettings):
    """How the server runs."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", frozen=True)

    models: Path = Field(Path("models"), description="the repository of bundles")
    variant: str = Field(
        "auto",
        min_length=1,
        description="the variant to serve of bundles that have it, say fp32; auto serves the "
        "fastest on this machine",
    )
    keep: int = Field(
        1,
        ge=1,
        description="versions of each model that are served, the highest; the highest of all "
        "answers requests that name none",
    )
    poll: float = Field(
        1,
        ge=0,
        description="seconds between looks for new versions; 0 looks only when asked to "
        "(POST /v2/repository/models/NAME/load)",
    )
    take_up: Literal["compatible", "all"] = Field(
        "compatible",
        description="new versions that are served without being asked for: compatible holds one "
        "that does not accept what the live version accepts, until POST "
        "/v2/repository/models/NAME/load; all holds none",
    )
    state: Path = Field(
        Path(".serving.json"),
        description="file that keeps which versions are pinned or live, and which models unloaded; "
        "a relative path starts in the folder of models",
    )
    default_model: str | None = Field(
        None,
        min_length=1,
        description="name of the model that answers requests that name none [the one that is "
        "served alone, also after others have come]",
    )
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    workers: int = Field(
        default_factory=count_usable_cores,
        ge=1,
        le=256,
        description="processes [one per usable core]",
    )
    max_body: int = Field(10 * 2**20, ge=1, description="bytes of a request body; above it 413")
    request_seconds: float = Field(
        60,
        gt=0,
        description="seconds from a request's head to the end of its answer; then 408 while the "
        "request is still coming, and 504 after that",
    )
    keep_alive: int = Field(
        75,
        ge=1,
        description="seconds that a connection may be idle between two requests; longer than the "
        "idle timeout of a load balancer in front, so that it hangs up first",
    )
    timeout: float | None = Field(
        None,
        gt=0,
        description="seconds a request without X-Request-Timeout has to be answered; then 504",
    )
    max_batch_rows: int = Field(
        0,
        ge=0,
        description="rows of one run, of as many requests; 0 measures at load what is worth it, "
        "1 joins none",
    )
    max_delay: float = Field(
        0, ge=0, le=1, description="seconds a request may wait for others to join its run"
    )
    queue_rows: int = Field(
        4096, ge=1, description="rows that wait for a run, in one process; above it 503"
    )
    queue_seconds: float = Field(
        1, gt=0, description="seconds a request may wait for its run; above it 503"
    )
    spare_descriptors: int = Field(
        32,
        ge=0,
        description="file descriptors that each worker keeps free for files of models and keys; "
        "when fewer are left, the connections that have been idle for longest are closed; at most "
        "a quarter of the limit of open files",
    )
    max_manifest_bytes: int = Field(
        2 * 2**20, ge=1, description="largest bundle.json of a version, in bytes"
    )
    max_selftest_bytes: int = Field(
        64 * 2**20,
        ge=1,
        description="largest selftest.npz of a version, in bytes after unpacking",
    )
    max_graph_bytes: int = Field(
        512 * 2**20, ge=1, le=2**31, description="largest ONNX file of a version, in bytes"
    )
    extra: Literal["refuse", "ignore"] = Field(
        "refuse",
        description="what to do with columns that the model does not have, by name, in a request: "
        "refuse answers 422, ignore leaves them out; a row of values without names is held to the "
        "number of columns in both cases",
    )
    run_seconds: float = Field(
        5,
        gt=0,
        description="longest run of a graph, in seconds; a longer one is stopped and answered "
        "with 504",
    )
    proof_seconds: float = Field(
        10,
        gt=0,
        description="processor time that the proof of a new variant may take, in seconds; a "
        "variant that needs more is refused",
    )
    max_proof_memory: int = Field(
        256 * 2**20,
        ge=1,
        description="memory for the proof of a new variant, in bytes, in addition to 8 times its "
        "ONNX file; a variant that needs more is refused",
    )
    allow_loops: bool = Field(
        False,
        description="true serves graphs with Loop, Scan and similar operators, whose runs may be "
        "endless",
    )
    keys: Path | None = Field(
        None,
        description="file of API keys, a line each as `serving key` makes them; followed while the "
        "server runs; without it prediction is open to all and administration to no one",
    )
    tls_cert: Path | None = Field(
        None,
        description="file of the certificate, and those that lead to its root, for HTTPS; SIGHUP "
        "takes up a new one",
    )
    tls_key: Path | None = Field(
        None, description="file of the certificate's private key; SIGHUP takes up a new one"
    )
    forwarded_allow_ips: Annotated[str, AfterValidator(_check_networks)] = Field(
        default_factory=lambda: os.environ.get("FORWARDED_ALLOW_IPS") or "127.0.0.1,::1",
        description="addresses and networks of proxies whose X-Forwarded headers are heeded, "
        "separated by commas; * for all [FORWARDED_ALLOW_IPS, else 127.0.0.1,::1]",
    )
    log_sample: float = Field(
        0.01,
        ge=0,
        le=1,
        description="share of the requests that went well which are logged; the others all are",
    )
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], BeforeValidator(str.lower)
    ] = Field("info", description="least severity that is logged")

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_blank(cls, value: Any) -> Any:
        if isinstance(value, str) and is_blank(value):
            raise ValueError("expected a value; got a blank one; leave it out for the default")
        return value
