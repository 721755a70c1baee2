"""The port, model folder and URL paths that cloud platforms prescribe for a container.

Vertex AI sets environment variables with the prefix `AIP_`. SageMaker sets none: its port, paths
and folder are always the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field
from pydantic_settings import SettingsConfigDict

from serving.settings.environment import VERTEX_PREFIX, EnvironmentSettings

SAGEMAKER_SETTINGS: dict[str, Any] = {
    "host": "0.0.0.0",  # noqa: S104
    "port": 8080,
    "models": "/opt/ml/model",
}
# Characters of a URL path, without `<` and `>`, which enclose the placeholders of a Flask rule.
ROUTE_PATTERN = r"^/[A-Za-z0-9._~:@!$&'()*+,;=/-]*$"

RoutePath = Annotated[str, Field(pattern=ROUTE_PATTERN, max_length=512)]


def _parse_local_folder(uri: str) -> str:
    """Return the folder that a path or a `file:` URI names.

    Raises:
        ValueError: If the URI names another machine or another scheme, for example `gs:`.
    """
    parts = urlsplit(uri)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return unquote(parts.path)
    if parts.scheme or parts.netloc or not uri.startswith("/"):
        raise ValueError(
            "expected a local folder or file: URI of models, NAME/VERSION; this server downloads "
            "nothing; put the models into the image under FORWARDPASS_MODELS and deploy without "
            "an artifact URI, or mount them"
        )
    return uri


class VertexSettings(EnvironmentSettings):
    """The variables of Google Vertex AI that concern a server; all None on other platforms."""

    model_config = SettingsConfigDict(env_prefix=VERTEX_PREFIX, frozen=True)

    http_port: int | None = Field(None, ge=1, le=65535, description="port to listen on")
    health_route: RoutePath | None = Field(None, description="URL path of the readiness check")
    predict_route: RoutePath | None = Field(None, description="URL path of predictions")
    storage_uri: Annotated[str, AfterValidator(_parse_local_folder)] | None = Field(
        None, description="folder of models"
    )

    def to_server_settings(self) -> dict[str, Any]:
        """Return the values that are options of the server, by option name."""
        options: dict[str, Any] = {}
        if self.http_port is not None:
            options |= {"host": "0.0.0.0", "port": self.http_port}  # noqa: S104
        if self.storage_uri is not None:
            options["models"] = Path(self.storage_uri)
        return options
