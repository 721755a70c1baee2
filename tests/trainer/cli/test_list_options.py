"""The values of a list option that is given several times are joined."""

import click
import pytest
from click.testing import CliRunner

from serving import cli
from serving.loadtest.command import loadtest
from serving.settings.options import Settings
from trainer.cli.options import config_options, configure
from trainer.config import Config


def run_configure(*arguments):
    """Return the options of a run that a command line gives."""

    @click.command()
    @config_options()
    def command(config, **options):
        raise _Result(configure(config, options))

    done = CliRunner().invoke(command, ["data.csv", *arguments])
    assert isinstance(done.exception, _Result), done.output
    return done.exception.args[0]


class _Result(Exception):
    """Takes a command's result out of click."""


TUPLES = [
    name for name, field in Config.model_fields.items() if str(field.annotation).startswith("tuple")
]
VALUES = {
    "hidden": ("64", "32"),
    "activation": ("relu", "tanh"),
    "date_format": ("a=%d/%m/%Y", "b=%B %d, %Y"),
}


@pytest.mark.parametrize("name", TUPLES)
def test_list_option_given_twice_has_both_values(name):
    values = VALUES.get(name, ("a", "b"))
    flag = f"--{name.replace('_', '-')}"
    others = ["--hidden", "8,8"] if name == "activation" else []
    config = run_configure(flag, values[0], flag, values[1], *others)
    assert tuple(map(str, getattr(config, name))) == values


def test_list_option_on_command_line_takes_precedence_over_file(tmp_path):
    (tmp_path / "c.toml").write_text('drop = ["z"]\nnumber = ["n"]\ndate-format = "d=%d/%m/%Y"\n')
    config = run_configure("--config", str(tmp_path / "c.toml"), "--drop", "a,b", "--drop", " c ")
    assert (config.drop, config.number) == (("a", "b", "c"), ("n",))
    assert config.date_format == ("d=%d/%m/%Y",)
    assert run_configure().drop == ()


def test_loadtest_rows_given_twice_has_all_sizes():
    (rows,) = (option for option in loadtest.params if option.name == "rows")
    context = click.Context(loadtest)
    assert rows.handle_parse_result(context, {"rows": ["1", "32,64"]}, [])[0] == (1, 32, 64)


def test_forwarded_allow_ips_given_twice_has_all_networks():
    @click.command()
    @cli._add_settings_options()
    def command(**options):
        raise _Result(Settings(**{k: v for k, v in options.items() if v is not None}))

    flag = "--forwarded-allow-ips"
    done = CliRunner().invoke(command, [flag, "10.0.0.1", flag, "10.1.0.0/16"])
    assert done.exception.args[0].forwarded_allow_ips == "10.0.0.1,10.1.0.0/16"
