"""The command line of the server."""

from __future__ import annotations

import logging
import os
import socket
import ssl
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, cast

import click
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from serving.bundle import PromotionError, describe_invalid_value, exit_on_full_disk, promote
from serving.bundle import list_versions as versions_of
from serving.http.key_file import SCOPES, KeyFileError, Scope, generate_key, require_keys
from serving.repository.folder_scan import require_models_folder
from serving.settings.cloud_platforms import SAGEMAKER_SETTINGS, VertexSettings
from serving.settings.environment import (
    ENV_PREFIX,
    VERTEX_PREFIX,
    describe_service_links,
    find_service_links,
    remove_blank_variables,
)
from serving.settings.options import VERSION, Settings

F = TypeVar("F", bound=Callable[..., Any])


class _CommandGroup(click.Group):
    """Those below, and one that needs what a server does without; imported when it is asked for."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command of the command line."""
        with exit_on_full_disk():
            return super().main(*args, **kwargs)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), "loadtest"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name != "loadtest":
            return super().get_command(ctx, cmd_name)
        try:
            return cast(click.Command, import_module("serving.loadtest.command").loadtest)
        except ModuleNotFoundError as error:
            return _missing_loadtest(error)


def _missing_loadtest(error: ModuleNotFoundError) -> click.Command:
    """Stands for loadtest where its libraries are not installed, as in the server's image."""

    @click.command("loadtest", context_settings={"ignore_unknown_options": True})
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def missing(**_: object) -> None:
        """Put a load on a server (not installed: pip install 'forwardpass[loadtest]')."""
        raise click.ClickException(
            f"expected the libraries of loadtest; {error.name} is missing; "
            f"run: pip install 'forwardpass[loadtest]'"
        )

    return missing


@click.group(cls=_CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="serving")
def main() -> None:
    """Serve bundles over HTTP."""
    remove_blank_variables()  # before any command reads its options' variables


REPEATABLE_SETTINGS = (
    "forwarded_allow_ips",
)  # settings of several values, which may be given one by one


def _join_values(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> str | None:
    """Return all values of an option that was given several times, None for never."""
    return ",".join(values) if values else None


def _add_settings_options(fixed: Mapping[str, Any] = MappingProxyType({})) -> Callable[[F], F]:
    """An option for every setting, declared once, in `Settings`.

    Args:
        fixed: those that have other defaults here, which no environment changes.
    """

    def add(command: F) -> F:
        for name, field in reversed(Settings.model_fields.items()):
            default = fixed.get(name, field.default)
            told = name in fixed or (field.default_factory is None and default is not None)
            notes = [f"[default: {default}]"] if told else []
            if name not in fixed:
                notes.append(f"[env: {ENV_PREFIX}{name.upper()}]")
            several: dict[str, Any] = {}
            if name in REPEATABLE_SETTINGS:
                several = {"multiple": True, "callback": _join_values}
            option = click.option(
                f"--{name.replace('_', '-')}",
                metavar=name.upper(),
                **several,
                help="  ".join([field.description or "", *notes]),
            )
            command = option(command)
        return command

    return add


def _describe_invalid_setting(error: ErrorDetails) -> str:
    name = str(error["loc"][0])
    twin = f"{ENV_PREFIX}{name.upper()}"
    return f"--{name.replace('_', '-')} ({twin}): {describe_invalid_value(error, Settings)}"


def _read_vertex_settings() -> VertexSettings:
    try:
        return VertexSettings()
    except ValidationError as error:
        faults = [
            f"{VERTEX_PREFIX}{str(fault['loc'][0]).upper()}: {describe_invalid_value(fault, VertexSettings)}"
            for fault in error.errors()
        ]
        raise click.UsageError("; ".join(faults)) from error


def _require_free_port(host: str, port: int) -> None:
    """Say at once that a port is taken: gunicorn tries for five seconds and blames the address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise click.ClickException(
                f"expected an address to listen on; got {host}:{port}: {error.strerror}; "
                f"choose another --host or --port"
            ) from error


def _require_models_folder(models: Path) -> None:
    """Say at once that nothing would ever be served from the folder of models."""
    try:
        require_models_folder(models)
    except NotADirectoryError as error:
        raise click.ClickException(
            f"{error}; choose another --models ({ENV_PREFIX}MODELS), or make the folder"
        ) from error


def _require_readable_files(settings: Settings) -> None:
    """Say at once that keys or a certificate are none, rather than in the log of each worker."""
    if settings.keys is not None:
        try:
            require_keys(settings.keys)
        except KeyFileError as error:
            raise click.ClickException(f"--keys: {error}") from error
    if settings.tls_cert is None and settings.tls_key is None:
        return
    if settings.tls_cert is None or settings.tls_key is None:
        raise click.UsageError("expected --tls-cert and --tls-key together; got one of them")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.tls_cert, settings.tls_key)
    except OSError as error:  # SSLError is one
        raise click.ClickException(
            f"expected a certificate and its key; got {settings.tls_cert} and {settings.tls_key}: "
            f"{error.strerror or error}"
        ) from error


@main.command()
@click.argument("name")
@click.option(
    "--scope",
    type=click.Choice(SCOPES),
    default="predict",
    show_default=True,
    help="what it opens; admin includes predict",
)
def create_key(name: str, scope: Scope) -> None:
    """Make an API key for NAME.

    The line for the file of --keys goes to standard output, the key itself, which is shown only
    now, to standard error: `serving key NAME >> FILE` adds it. A server that runs takes it up.
    """
    try:
        secret, line = generate_key(name, scope)
    except KeyFileError as error:
        raise click.UsageError(str(error)) from error
    click.echo(f"key, shown only now: {secret}", err=True)
    click.echo(line)


@main.command("promote")
@click.argument("name")
@click.argument("version", type=click.IntRange(1), required=False)
@click.option(
    "--models",
    type=click.Path(path_type=Path),
    default="models",
    show_default=True,
    envvar=f"{ENV_PREFIX}MODELS",
    help="folder of models",
)
def promote_version(name: str, version: int | None, models: Path) -> None:
    """Promote a staged version of the model NAME, so that servers load it.

    `trainer fit --stage` writes a version as NAME/staged-VERSION, which no server takes up. This
    checks its files and renames the folder to NAME/VERSION. VERSION may be left out where one alone
    is staged. A running server takes it up within --poll seconds, if it proves itself there; POST
    /v2/repository/index says what has become of it.
    """
    try:
        bundle = promote(models, name, version)
    except PromotionError as error:
        raise click.ClickException(str(error)) from error
    number, highest = bundle.manifest.version, versions_of(models / name)[-1]
    click.echo(
        f"promoted version {number} of {name}: {bundle.path}; POST /v2/repository/index of a "
        f"server says when it answers"
    )
    if highest > number:
        click.echo(
            f"version {highest} is higher and is served before it; to serve {number}, POST "
            f'/v2/repository/models/{name}/rollback with {{"parameters": {{"version": {number}}}}}',
            err=True,
        )


def _exec_gunicorn(**options: Any) -> None:
    try:
        settings = Settings(**options)
    except ValidationError as error:
        raise click.UsageError("; ".join(map(_describe_invalid_setting, error.errors()))) from error
    _require_models_folder(settings.models)
    _require_free_port(settings.host, settings.port)
    _require_readable_files(settings)
    # gunicorn's twin of --workers, without a say here; were it no number, gunicorn would not start.
    os.environ.pop("WEB_CONCURRENCY", None)
    if links := find_service_links(os.environ):
        _remove_service_links(links, settings.log_level)
    # gunicorn takes this process over; it and its workers read the settings from the environment.
    for name, value in settings.model_dump(mode="json", exclude_none=True).items():
        os.environ[f"{ENV_PREFIX}{name.upper()}"] = str(value)
    # One heap a process: the thread that loads versions would take a second one, and keep it.
    os.environ.setdefault("MALLOC_ARENA_MAX", "1")
    arguments = ["-m", "gunicorn", "--config", "python:serving.server.gunicorn_conf"]
    os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606


def _remove_service_links(names: list[str], level: str) -> None:
    """Warn of variables that are no settings, and take them out of the environment.

    Before the settings are written there, since one may have the same name, `FORWARDPASS_PORT`.
    """
    # Imported for these lines alone: it takes a while, and few have such variables.
    import_module("serving.telemetry.logs").configure(level)
    logging.getLogger(__name__).warning("%s", describe_service_links(names))
    for name in names:
        del os.environ[name]


def _drop_unset(options: dict[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in options.items() if value is not None}


@main.command()
@_add_settings_options()
def run(**options: str | None) -> None:
    """Serve the repository until SIGTERM or Ctrl-C.

    Where Vertex AI starts it, AIP_HTTP_PORT and AIP_STORAGE_URI come before the environment.
    """
    _exec_gunicorn(**_read_vertex_settings().to_server_settings() | _drop_unset(options))


@main.command()
@_add_settings_options(SAGEMAKER_SETTINGS)
def serve(**options: str | None) -> None:
    """Serve as Amazon SageMaker starts a container.

    As run does, but on port 8080 of every address, and the models of /opt/ml/model: the archive
    of a model holds NAME/VERSION, as the folder models does. Only options change that.
    """
    _exec_gunicorn(**SAGEMAKER_SETTINGS | _drop_unset(options))
