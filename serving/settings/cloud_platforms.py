"""What a cloud's platform says to the container it starts: where it will ask, where the model is.

SageMaker says nothing: its port, its paths and its folder are always the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field
from pydantic_settings import SettingsConfigDict

from serving.settings.environment import VERTEX_PREFIX, EnvironmentSettings

SAGEMAKER_SETTINGS: dict[str, Any] = {"host": "0.0.0.0", "port": 8080, "models": "/opt/ml/model"}  # noqa: S104
# Of a URL's path, and none of what a route's rule reads as a placeholder.
ROUTE_PATTERN = r"^/[A-Za-z0-9._~:@!$&'()*+,;=/-]*$"

RoutePath = Annotated[str, Field(pattern=ROUTE_PATTERN, max_length=512)]


def _parse_local_folder(uri: str) -> str:
    """The folder that a URI names.

    Raises:
        ValueError: it is not on this machine.
    """
    parts = urlsplit(uri)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return unquote(parts.path)
    if parts.scheme or parts.netloc or not uri.startswith("/"):
        raise ValueError(
            "expected a local folder or file: URI of models, NAME/VERSION; this server fetches "
            "nothing; put the models into the image under FORWARDPASS_MODELS and deploy without "
            "an artifact URI, or mount them"
        )
    return uri


class VertexSettings(EnvironmentSettings):
    """Google Vertex AI's variables, as far as they concern a server; unset elsewhere."""

    model_config = SettingsConfigDict(env_prefix=VERTEX_PREFIX, frozen=True)

    http_port: int | None = Field(None, ge=1, le=65535, description="port to listen on")
    health_route: RoutePath | None = Field(None, description="path that is asked for readiness")
    predict_route: RoutePath | None = Field(None, description="path that is asked for predictions")
    storage_uri: Annotated[str, AfterValidator(_parse_local_folder)] | None = Field(
        None, description="where the models are"
    )

    def to_server_settings(self) -> dict[str, Any]:
        """What of it are settings of the server, by their names."""
        chosen: dict[str, Any] = {}
        if self.http_port is not None:
            chosen |= {"host": "0.0.0.0", "port": self.http_port}  # noqa: S104
        if self.storage_uri is not None:
            chosen["models"] = Path(self.storage_uri)
        return chosen
