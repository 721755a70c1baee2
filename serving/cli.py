"""The command line of the server: `serving run`, `serve`, `key`, `promote` and `loadtest`."""

from __future__ import annotations

import logging
import os
import socket
import ssl
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, cast

import click
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from serving.bundle import (
    PromotionError,
    describe_invalid_value,
    exit_on_full_disk,
    list_versions,
    promote,
)
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
    """The commands of this module, and `loadtest`, which is imported only when it is used.

    Its libraries are not installed with the server.
    """

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command; a full disk ends it with a message instead of a traceback."""
        with exit_on_full_disk():
            return super().main(*args, **kwargs)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return [*super().list_commands(ctx), "loadtest"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by its name; None if there is none."""
        if cmd_name != "loadtest":
            return super().get_command(ctx, cmd_name)
        if reason := _explain_missing_loadtest():
            return _create_missing_loadtest(reason)
        return cast(click.Command, import_module("serving.loadtest.command").loadtest)


# Import names of what pyproject.toml lists under the extra `loadtest`.
LOADTEST_LIBRARIES = ("hdrh", "httptools", "jinja2", "matplotlib", "rich", "uvloop")


def _explain_missing_loadtest() -> str | None:
    """Return why `loadtest` cannot run here and what to do; None if it can."""
    if find_spec("serving.loadtest") is None:
        return (
            "expected the load test, which is not in the server's image; run it on another "
            "machine: pip install 'forwardpass[loadtest]'"
        )
    if missing := [name for name in LOADTEST_LIBRARIES if find_spec(name) is None]:
        return (
            f"expected the libraries of loadtest; not installed: {', '.join(missing)}; "
            f"run: pip install 'forwardpass[loadtest]'"
        )
    return None


def _create_missing_loadtest(reason: str) -> click.Command:
    """Return a command `loadtest` that ends with a reason, whatever its arguments are."""

    # A short help is shown in full, whereas a docstring is cut where the line ends.
    @click.command(
        "loadtest",
        context_settings={"ignore_unknown_options": True},
        short_help="Measure a server (needs pip install 'forwardpass[loadtest]').",
    )
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def missing(**_: object) -> None:
        """Measure a server under load (not installed: pip install 'forwardpass[loadtest]')."""
        raise click.ClickException(reason)

    return missing


@click.group(cls=_CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="serving")
def main() -> None:
    """Serve models over HTTP: bundles that `trainer fit` has written.

    `serving COMMAND --help` explains a command. Begin with `serving run`.
    """
    remove_blank_variables()  # before click reads the variables of a command's options


REPEATABLE_SETTINGS = ("forwarded_allow_ips",)  # lists, whose option may be given several times


def _join_values(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> str | None:
    """Return the values of a repeatable option, joined by commas; None if it was not given."""
    return ",".join(values) if values else None


def _add_settings_options(
    defaults: Mapping[str, Any] = MappingProxyType({}),
) -> Callable[[F], F]:
    """Return a decorator that adds an option to a command for every field of `Settings`.

    Args:
        defaults: Values that replace the defaults of `Settings` for this command, by name.
            Environment variables do not change them.
    """

    def add_options(command: F) -> F:
        for name, field in reversed(Settings.model_fields.items()):
            default = defaults.get(name, field.default)
            has_default = name in defaults or (
                field.default_factory is None and default is not None
            )
            notes = [f"[default: {default}]"] if has_default else []
            if name not in defaults:
                notes.append(f"[env: {ENV_PREFIX}{name.upper()}]")
            repeatable: dict[str, Any] = {}
            if name in REPEATABLE_SETTINGS:
                repeatable = {"multiple": True, "callback": _join_values}
            option = click.option(
                f"--{name.replace('_', '-')}",
                metavar=name.upper(),
                **repeatable,
                help="  ".join([field.description or "", *notes]),
            )
            command = option(command)
        return command

    return add_options


def _describe_invalid_setting(error: ErrorDetails) -> str:
    name = str(error["loc"][0])
    variable = f"{ENV_PREFIX}{name.upper()}"
    return f"--{name.replace('_', '-')} ({variable}): {describe_invalid_value(error, Settings)}"


def _read_vertex_settings() -> VertexSettings:
    try:
        return VertexSettings()
    except ValidationError as error:
        faults = [
            f"{VERTEX_PREFIX}{str(fault['loc'][0]).upper()}: "
            f"{describe_invalid_value(fault, VertexSettings)}"
            for fault in error.errors()
        ]
        raise click.UsageError("; ".join(faults)) from error


def _require_free_port(host: str, port: int) -> None:
    """Refuse an address that cannot be listened on.

    gunicorn would try again for five seconds, and its message would not name the port.
    """
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
    """Refuse a folder of models from which nothing could ever be served."""
    try:
        require_models_folder(models)
    except NotADirectoryError as error:
        is_absent = not models.is_symlink() and not models.exists()
        example = f", for example by training: trainer fit digits --models {models}"
        raise click.ClickException(
            f"{error}; choose another --models ({ENV_PREFIX}MODELS), or make the folder"
            f"{example if is_absent else ''}"
        ) from error


def _require_readable_files(settings: Settings) -> None:
    """Refuse unusable files of API keys, certificate and private key.

    Otherwise each worker would report them in the log, after the server has started.
    """
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
    except OSError as error:  # SSLError is a subclass
        raise click.ClickException(
            f"expected a certificate and its key; got {settings.tls_cert} and {settings.tls_key}: "
            f"{error.strerror or error}"
        ) from error


@main.command("key")
@click.argument("name")
@click.option(
    "--scope",
    type=click.Choice(SCOPES),
    default="predict",
    show_default=True,
    help="what the key permits: predict, or admin (also to load, unload and roll back models)",
)
def create_key(name: str, scope: Scope) -> None:
    """Create an API key and print it.

    NAME says whose key it is. `serving key NAME >> FILE` appends the key's hash to FILE, for
    `serving run --keys FILE`, and shows the key itself on the terminal (standard error), once: it
    is stored nowhere. A running server accepts the key as soon as FILE has changed.
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
    help="folder that holds the models as NAME/VERSION  [env: FORWARDPASS_MODELS]",
)
def promote_version(name: str, version: int | None, models: Path) -> None:
    """Release a staged version of a model to servers.

    `trainer fit --stage` writes a version as NAME/staged-VERSION, which servers ignore. This
    command checks its files and renames the folder to NAME/VERSION. VERSION may be left out if only
    one version of the model NAME is staged. A running server of the folder finds the version within
    the time of its --poll and serves it if it passes the self-test there and no version is pinned
    (by a rollback); POST /v2/repository/index on that server shows whether it did.
    """
    try:
        bundle = promote(models, name, version)
    except PromotionError as error:
        raise click.ClickException(str(error)) from error
    number, highest = bundle.manifest.version, list_versions(models / name)[-1]
    click.echo(
        f"promoted version {number} of {name}: {bundle.path}; POST /v2/repository/index of a "
        f"server reports when it is served"
    )
    if highest > number:
        click.echo(
            f"version {highest} is higher and is served before it; to serve {number}, POST "
            f'/v2/repository/models/{name}/rollback with {{"parameters": {{"version": {number}}}}}',
            err=True,
        )


def _exec_gunicorn(**options: Any) -> None:
    """Check the settings, then replace this process by gunicorn."""
    try:
        settings = Settings(**options)
    except ValidationError as error:
        faults = map(_describe_invalid_setting, error.errors())
        raise click.UsageError("; ".join(faults)) from error
    _require_models_folder(settings.models)
    _require_free_port(settings.host, settings.port)
    _require_readable_files(settings)
    # gunicorn's own variable for the number of workers: ours overrides it, but gunicorn would still
    # refuse to start if it is not a number.
    os.environ.pop("WEB_CONCURRENCY", None)
    if links := find_service_links(os.environ):
        _remove_service_links(links, settings.log_level)
    # gunicorn and its workers read the settings from the environment.
    for name, value in settings.model_dump(mode="json", exclude_none=True).items():
        os.environ[f"{ENV_PREFIX}{name.upper()}"] = str(value)
    # Use one heap per process: otherwise the thread that loads versions would get a second heap,
    # and glibc would never return its memory.
    os.environ.setdefault("MALLOC_ARENA_MAX", "1")
    arguments = ["-m", "gunicorn", "--config", "python:serving.server.gunicorn_conf"]
    os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606


def _remove_service_links(names: list[str], level: str) -> None:
    """Warn of Kubernetes service links, and remove them from the environment.

    Call it before the settings are written to the environment, since `FORWARDPASS_PORT` can be a
    link or a setting.
    """
    # Imported only here: the import is slow, and few environments have service links.
    import_module("serving.telemetry.logs").configure_logging(level)
    logging.getLogger(__name__).warning("%s", describe_service_links(names))
    for name in names:
        del os.environ[name]


def _drop_unset(options: dict[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in options.items() if value is not None}


@main.command()
@_add_settings_options()
def run(**options: str | None) -> None:
    """Serve the models in a folder over HTTP, until SIGTERM or Ctrl-C.

    The address is http://127.0.0.1:8000 unless --host and --port change it; /docs there is a page
    that lists and sends all requests. Every option can also be set by the environment variable that
    its help names.

    On Vertex AI, AIP_HTTP_PORT and AIP_STORAGE_URI take precedence over FORWARDPASS_ variables.
    """
    _exec_gunicorn(**_read_vertex_settings().to_server_settings() | _drop_unset(options))


@main.command()
@_add_settings_options(SAGEMAKER_SETTINGS)
def serve(**options: str | None) -> None:
    """Serve in a container of Amazon SageMaker.

    Like run, but with other defaults: port 8080, all addresses of the machine, and the models in
    /opt/ml/model. Environment variables do not change these three, only options do. The model
    archive must hold NAME/VERSION, like the folder of models.
    """
    _exec_gunicorn(**SAGEMAKER_SETTINGS | _drop_unset(options))
