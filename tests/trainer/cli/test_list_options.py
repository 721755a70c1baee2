"""List options that are given several times add up: none of their values is lost."""

import click
import pytest
from click.testing import CliRunner

from serving import cli
from serving.loadtest.command import loadtest
from serving.settings.options import Settings
from trainer.cli.options import config_options, configure
from trainer.config import Config


def configured(*arguments):
    @click.command()
    @config_options()
    def command(config, **options):
        raise _Done(configure(config, options))

    done = CliRunner().invoke(command, ["data.csv", *arguments])
    assert isinstance(done.exception, _Done), done.output
    return done.exception.args[0]


class _Done(Exception):
    pass


TUPLES = [
    name for name, field in Config.model_fields.items() if str(field.annotation).startswith("tuple")
]
VALUES = {
    "hidden": ("64", "32"),
    "activation": ("relu", "tanh"),
    "date_format": ("a=%d/%m/%Y", "b=%B %d, %Y"),
}


@pytest.mark.parametrize("name", TUPLES)
def test_a_list_option_given_twice_adds_up(name):
    one, other = VALUES.get(name, ("a", "b"))
    flag = f"--{name.replace('_', '-')}"
    more = ["--hidden", "8,8"] if name == "activation" else []
    assert [str(v) for v in getattr(configured(flag, one, flag, other, *more), name)] == [
        one,
        other,
    ]


def test_list_options_may_mix_both_ways_and_win_over_a_file(tmp_path):
    (tmp_path / "c.toml").write_text('drop = ["z"]\nnumber = ["n"]\ndate-format = "d=%d/%m/%Y"\n')
    found = configured("--config", str(tmp_path / "c.toml"), "--drop", "a,b", "--drop", " c ")
    assert (found.drop, found.number) == (("a", "b", "c"), ("n",))
    assert found.date_format == ("d=%d/%m/%Y",)
    assert configured().drop == ()


def test_sizes_of_a_loadtest_add_up():
    (rows,) = (option for option in loadtest.params if option.name == "rows")
    context = click.Context(loadtest)
    assert rows.handle_parse_result(context, {"rows": ["1", "32,64"]}, [])[0] == (1, 32, 64)


def test_networks_of_proxies_add_up(monkeypatch):
    @click.command()
    @cli._add_settings_options()
    def command(**options):
        raise _Done(Settings(**{k: v for k, v in options.items() if v is not None}))

    flag = "--forwarded-allow-ips"
    done = CliRunner().invoke(command, [flag, "10.0.0.1", flag, "10.1.0.0/16"])
    assert done.exception.args[0].forwarded_allow_ips == "10.0.0.1,10.1.0.0/16"
