"""The built package, and fresh environments in which it is installed, once per session."""

import pytest

from tests.wheel.environments import Environment, build_archives, write_constraints


@pytest.fixture(scope="session")
def archives(tmp_path_factory):
    """Paths of the source distribution and of the wheel."""
    return build_archives(tmp_path_factory.mktemp("archives"))


@pytest.fixture(scope="session")
def sdist(archives):
    return archives[0]


@pytest.fixture(scope="session")
def wheel(archives):
    return archives[1]


@pytest.fixture(scope="session")
def install(wheel, tmp_path_factory):
    """Return a function that installs the wheel with an extra, `[train]`, or with none, ""."""

    def create(extra):
        folder = tmp_path_factory.mktemp("environment")
        constraints = folder / "constraints.txt"
        write_constraints(constraints)
        return Environment.create(folder, f"forwardpass{extra} @ {wheel.as_uri()}", constraints)

    return create


@pytest.fixture(scope="session")
def bare(install):
    return install("")


@pytest.fixture(scope="session")
def train(install):
    return install("[train]")


@pytest.fixture(scope="session")
def loadtest(install):
    return install("[loadtest]")
