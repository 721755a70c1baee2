"""Settings from the variables of Vertex AI."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from serving.settings.cloud_platforms import VertexSettings


def make_vertex_settings(monkeypatch, **variables):
    for name, value in variables.items():
        monkeypatch.setenv(f"AIP_{name}", value)
    return VertexSettings()


def test_vertex_settings_other_platform_is_empty():
    assert VertexSettings().to_server_settings() == {}
    assert VertexSettings().health_route is VertexSettings().predict_route is None


def test_vertex_settings_empty_variables_count_as_unset(monkeypatch):
    names = ("HTTP_PORT", "HEALTH_ROUTE", "PREDICT_ROUTE", "STORAGE_URI")
    assert (
        make_vertex_settings(monkeypatch, **dict.fromkeys(names, ""))
        == VertexSettings.model_construct()
    )


def test_vertex_settings_port_listens_on_every_address(monkeypatch):
    found = make_vertex_settings(monkeypatch, HTTP_PORT="8080").to_server_settings()
    assert found == {"host": "0.0.0.0", "port": 8080}  # noqa: S104


@pytest.mark.parametrize(
    ("uri", "folder"),
    [
        ("/mnt/models", "/mnt/models"),
        ("file:///mnt/my%20models", "/mnt/my models"),
        ("file://localhost/mnt/models", "/mnt/models"),
    ],
)
def test_vertex_settings_local_storage_uri_is_models_folder(uri, folder, monkeypatch):
    assert make_vertex_settings(monkeypatch, STORAGE_URI=uri).to_server_settings() == {
        "models": Path(folder)
    }


@pytest.mark.parametrize(
    "uri", ["gs://bucket/models", "https://a.b/models", "file://elsewhere/models", "models", "//a"]
)
def test_vertex_settings_remote_storage_uri_is_refused(uri, monkeypatch):
    with pytest.raises(ValidationError, match="put the models into the image"):
        make_vertex_settings(monkeypatch, STORAGE_URI=uri)


@pytest.mark.parametrize(
    "variables",
    [
        {"HTTP_PORT": "0"},
        {"HTTP_PORT": "web"},
        {"HEALTH_ROUTE": "health"},
        {"PREDICT_ROUTE": "/a/<name>"},
        {"PREDICT_ROUTE": "/a?b"},
        {"PREDICT_ROUTE": "/a\nb"},
        {"PREDICT_ROUTE": "/" + "a" * 512},
    ],
)
def test_vertex_settings_invalid_port_or_path_is_refused(variables, monkeypatch):
    with pytest.raises(ValidationError):
        make_vertex_settings(monkeypatch, **variables)
