"""Environment variables as settings: blank variables and Kubernetes service links are ignored.

For a service named `forwardpass`, Kubernetes sets variables such as
`FORWARDPASS_PORT=tcp://10.0.0.1:8000` and `FORWARDPASS_SERVICE_HOST=10.0.0.1` in every container
of its namespace, unless the pod's specification has `enableServiceLinks: false`. Docker's container
links do the same.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource

ENV_PREFIX = "FORWARDPASS_"
VERTEX_PREFIX = "AIP_"
PREFIXES = (ENV_PREFIX, VERTEX_PREFIX)
# Prefixes of variables that gunicorn, gevent, ONNX Runtime and the C library read even when blank.
LIBRARY_PREFIXES = (
    "FORWARDED_ALLOW_IPS",
    "GEVENT_",
    "GUNICORN_",
    "LISTEN_",
    "MALLOC_",
    "NOTIFY_SOCKET",
    "ORT_",
    "SCRIPT_NAME",
)

# FORWARDPASS_PORT can be a setting or a link: it is a link if its value is an address like these.
ADDRESS_PATTERN = re.compile(r"(tcp|udp|sctp)://\S+", re.IGNORECASE)
PORT_LINK_PATTERN = re.compile(r".*_PORT(_\d+_(TCP|UDP|SCTP))?")
# Links with these names hold a part of an address, and no setting has such a name.
PORT_PART_LINK_PATTERN = re.compile(
    r".*_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)_(ADDR|PORT|PROTO))"
)


def is_blank(value: str) -> bool:
    """Return whether a variable with this value counts as unset."""
    return not value.strip()


def is_service_link(name: str, value: str) -> bool:
    """Return whether Kubernetes has set this variable, for a service with one of our prefixes.

    Args:
        name: Name of the variable, in capitals.
        value: Value of the variable.
    """
    if not name.startswith(PREFIXES):
        return False
    if PORT_LINK_PATTERN.fullmatch(name) and ADDRESS_PATTERN.fullmatch(value.strip()):
        return True
    return PORT_PART_LINK_PATTERN.fullmatch(name) is not None


def find_service_links(environ: Mapping[str, str]) -> list[str]:
    """Return the names of all variables that are service links, sorted."""
    return sorted(name for name, value in environ.items() if is_service_link(name, value))


def describe_service_links(names: list[str]) -> str:
    """Return a warning that names the service links and says how to prevent them."""
    return (
        f"expected settings; got variables that Kubernetes sets for a service of this name, "
        f"which are ignored; set enableServiceLinks: false in the pod's specification: "
        f"{', '.join(names)}"
    )


def remove_blank_variables() -> None:
    """Remove blank variables from this process's environment.

    Only variables of settings are removed, and those of libraries that do not treat a blank
    variable as unset.
    """
    for name, value in list(os.environ.items()):
        if name.startswith((*PREFIXES, *LIBRARY_PREFIXES)) and is_blank(value):
            del os.environ[name]


class EnvironmentSource(EnvSettingsSource):
    """pydantic's source of environment variables, without blank ones and service links."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return value, key and complexity as the parent does; None for a variable to ignore."""
        value, key, is_complex = super().get_field_value(field, field_name)
        if value is not None:
            name = f"{self.env_prefix}{field_name}".upper()
            if is_blank(value) or is_service_link(name, value):
                value = None
        return value, key, is_complex


class EnvironmentSettings(BaseSettings):
    """Settings read from arguments first, then from environment variables, and nowhere else."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources in order of precedence."""
        return init_settings, EnvironmentSource(settings_cls)
