"""The tutorial's model, trained by the tutorial's command."""

import shutil

import pytest
from click.testing import CliRunner

from tests.pages.markdown import DOCS, list_commands, read_page
from trainer.cli import main


@pytest.fixture(scope="session")
def tutorial_folder(tmp_path_factory):
    """A folder with people.csv and new.csv, in which the tutorial's commands run."""
    folder = tmp_path_factory.mktemp("tutorial")
    shutil.copy(DOCS / "people.csv", folder / "people.csv")
    shutil.copy(DOCS / "people.csv", folder / "new.csv")
    return folder


@pytest.fixture(scope="session")
def tutorial_fit(tutorial_folder):
    """The result of the tutorial's second `fit`, whose model is then in `tutorial_folder`."""
    command = list_commands(read_page("docs/tutorial.md"), "trainer")[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tutorial_folder)
        done = CliRunner().invoke(main, command.split()[1:])
    assert done.exit_code == 0, done.output
    return done
