"""What the platform's variables mean."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from serving.settings.cloud_platforms import VertexSettings


def vertex(monkeypatch, **variables):
    for name, value in variables.items():
        monkeypatch.setenv(f"AIP_{name}", value)
    return VertexSettings()


def test_elsewhere_nothing_is_said():
    assert VertexSettings().to_server_settings() == {}
    assert VertexSettings().health_route is VertexSettings().predict_route is None


def test_empty_variables_say_nothing(monkeypatch):
    names = ("HTTP_PORT", "HEALTH_ROUTE", "PREDICT_ROUTE", "STORAGE_URI")
    assert vertex(monkeypatch, **dict.fromkeys(names, "")) == VertexSettings.model_construct()


def test_the_port_is_listened_to_on_every_address(monkeypatch):
    found = vertex(monkeypatch, HTTP_PORT="8080").to_server_settings()
    assert found == {"host": "0.0.0.0", "port": 8080}  # noqa: S104


@pytest.mark.parametrize(
    ("uri", "folder"),
    [
        ("/mnt/models", "/mnt/models"),
        ("file:///mnt/my%20models", "/mnt/my models"),
        ("file://localhost/mnt/models", "/mnt/models"),
    ],
)
def test_a_local_location_is_taken_up(uri, folder, monkeypatch):
    assert vertex(monkeypatch, STORAGE_URI=uri).to_server_settings() == {"models": Path(folder)}


@pytest.mark.parametrize(
    "uri", ["gs://bucket/models", "https://a.b/models", "file://elsewhere/models", "models", "//a"]
)
def test_any_other_is_refused_with_what_to_do(uri, monkeypatch):
    with pytest.raises(ValidationError, match="put the models into the image"):
        vertex(monkeypatch, STORAGE_URI=uri)


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
def test_what_is_no_port_or_path_is_refused(variables, monkeypatch):
    with pytest.raises(ValidationError):
        vertex(monkeypatch, **variables)
