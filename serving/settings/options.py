"""All options of the server, each declared once: name, default, bounds and help text.

Each is an option of `serving run`, an argument of `create_app`, and an environment variable with
the prefix `FORWARDPASS_`. A blank variable counts as unset; a blank argument is an error.
"""

from __future__ import annotations

import os
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator
from pydantic_settings import SettingsConfigDict

from serving.settings.cores import count_usable_cores
from serving.settings.environment import (
    ENV_PREFIX,
    EnvironmentSettings,
    is_blank,
    is_service_link,
)

# The version of the package, which pyproject.toml reads from here: an image contains no metadata.
VERSION = "0.2.0"


def find_unknown_variables() -> list[str]:
    """Return the names of environment variables with our prefix that are no option, sorted.

    Most likely their names are misspelt.
    """
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
    """Parse a list of addresses and networks that is separated by commas.

    Returns:
        The networks; None if the list contains `*`, which means every network.

    Raises:
        ValueError: If an entry is neither an address nor a network.
    """
    parts = list(filter(None, map(str.strip, text.split(","))))
    networks = [ip_network(part) for part in parts if part != "*"]
    return None if "*" in parts else networks


def _check_networks(text: str) -> str:
    parse_networks(text)
    return text


class Settings(EnvironmentSettings):
    """The options of the server."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", frozen=True)

    models: Path = Field(
        Path("models"),
        description="folder that holds the models as NAME/VERSION, as trainer fit writes them",
    )
    variant: str = Field(
        "auto",
        min_length=1,
        description="variant of the models to serve, for example fp32, where a model has it; auto "
        "selects the fastest on this machine",
    )
    keep: int = Field(
        1,
        ge=1,
        description="number of versions served of each model, counted from the highest; the "
        "highest serves requests that name no version",
    )
    poll: float = Field(
        1,
        ge=0,
        description="seconds between two searches for new versions; 0 searches only on request "
        "(POST /v2/repository/models/NAME/load)",
    )
    take_up: Literal["compatible", "all"] = Field(
        "compatible",
        description="which new versions to serve automatically: all, or compatible, which are "
        "those that accept every request that the live version accepts (the others are held until "
        "POST /v2/repository/models/NAME/load)",
    )
    state: Path = Field(
        Path(".serving.json"),
        description="file that stores pinned and live versions and unloaded models across "
        "restarts; a relative path is below the folder of models",
    )
    default_model: str | None = Field(
        None,
        min_length=1,
        description="name of the model that serves requests without a model name [default: the "
        "first model that was served while no other model was]",
    )
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 selects a free one")
    workers: int = Field(
        default_factory=count_usable_cores,
        ge=1,
        le=256,
        description="number of worker processes [default: one per usable core]",
    )
    max_body: int = Field(
        10 * 2**20,
        ge=1,
        description="largest request body, in bytes; a larger one is answered with 413",
    )
    request_seconds: float = Field(
        60,
        gt=0,
        description="longest time from the arrival of a request's head to the end of its response, "
        "in seconds; after it, the answer is 408 if the request is incomplete, else 504",
    )
    keep_alive: int = Field(
        75,
        ge=1,
        description="seconds that a connection may be idle between two requests; set it above the "
        "idle timeout of a load balancer in front, so that the load balancer closes first",
    )
    timeout: float | None = Field(
        None,
        gt=0,
        description="time limit of requests that set none with X-Request-Timeout, in seconds; a "
        "request that takes longer is answered with 504 [default: none]",
    )
    max_batch_rows: int = Field(
        0,
        ge=0,
        description="largest number of rows in one batch of several requests; 0 measures the best "
        "number when a model is loaded, 1 disables batching",
    )
    max_delay: float = Field(
        0,
        ge=0,
        le=1,
        description="seconds that a request may wait for other requests to join its batch",
    )
    queue_rows: int = Field(
        4096,
        ge=1,
        description="largest number of rows queued in one process; requests above it get 503",
    )
    queue_seconds: float = Field(
        1, gt=0, description="seconds that a request may be queued before it gets 503"
    )
    spare_descriptors: int = Field(
        32,
        ge=0,
        description="file descriptors that each worker keeps free for files of models and keys, at "
        "most a quarter of the limit of open files; when fewer are left, the connections that have "
        "been idle for longest are closed",
    )
    max_manifest_bytes: int = Field(
        2 * 2**20, ge=1, description="largest bundle.json of a version, in bytes"
    )
    max_selftest_bytes: int = Field(
        64 * 2**20,
        ge=1,
        description="largest selftest.npz of a version, in bytes after decompression",
    )
    max_graph_bytes: int = Field(
        512 * 2**20, ge=1, le=2**31, description="largest ONNX file of a version, in bytes"
    )
    extra: Literal["refuse", "ignore"] = Field(
        "refuse",
        description="what to do with columns in a request, given by name, that the model does not "
        "have: refuse responds with 422, ignore drops them; rows without names must always have "
        "the model's number of columns",
    )
    run_seconds: float = Field(
        5,
        gt=0,
        description="longest run of a model on one batch, in seconds; a longer one is stopped and "
        "answered with 504",
    )
    proof_seconds: float = Field(
        10,
        gt=0,
        description="processor time for the self-test of a new variant, in seconds; a variant that "
        "needs more is refused",
    )
    max_proof_memory: int = Field(
        256 * 2**20,
        ge=1,
        description="memory for the self-test of a new variant, in bytes, in addition to 8 times "
        "the size of its ONNX file; a variant that needs more is refused",
    )
    allow_loops: bool = Field(
        False,
        description="true also serves graphs with Loop, Scan and similar operators, which may "
        "never finish",
    )
    keys: Path | None = Field(
        None,
        description="file of API keys, with one line for each as printed by `serving key`; changes "
        "take effect without a restart; without a file anyone may predict and nobody may "
        "administer",
    )
    tls_cert: Path | None = Field(
        None,
        description="file of the TLS certificate and its intermediate certificates, for HTTPS; "
        "SIGHUP reloads it",
    )
    tls_key: Path | None = Field(
        None, description="file of the certificate's private key; SIGHUP reloads it"
    )
    forwarded_allow_ips: Annotated[str, AfterValidator(_check_networks)] = Field(
        default_factory=lambda: os.environ.get("FORWARDED_ALLOW_IPS") or "127.0.0.1,::1",
        description="addresses and networks of proxies whose X-Forwarded headers are trusted, "
        "separated by commas; * trusts all [default: FORWARDED_ALLOW_IPS, else 127.0.0.1,::1]",
    )
    log_sample: float = Field(
        0.01,
        ge=0,
        le=1,
        description="share of successful requests that are logged, 0 to 1; failed requests always "
        "are",
    )
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], BeforeValidator(str.lower)
    ] = Field("info", description="least severity that is logged: debug, info, warning or error")

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_blank(cls, value: Any) -> Any:
        if isinstance(value, str) and is_blank(value):
            raise ValueError("expected a value; got a blank one; leave it out for the default")
        return value
