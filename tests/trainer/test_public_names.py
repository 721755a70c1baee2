"""What `from trainer import …` offers, and what `import trainer` loads."""

import subprocess
import sys

import pytest

import trainer
from trainer.config import Config
from trainer.estimators import MLPClassifier, MLPRegressor
from trainer.pipeline import fit
from trainer.sequential import Sequential

PUBLIC = {
    "Config": Config,
    "MLPClassifier": MLPClassifier,
    "MLPRegressor": MLPRegressor,
    "Sequential": Sequential,
    "fit": fit,
}


@pytest.mark.parametrize("name", PUBLIC)
def test_trainer_public_name_is_the_one_of_its_module(name):
    assert getattr(trainer, name) is PUBLIC[name]


def test_trainer_all_lists_the_public_names():
    assert sorted(trainer.__all__) == sorted(PUBLIC)
    assert set(PUBLIC) <= set(dir(trainer))


def test_trainer_unknown_name_raises_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'MLP'"):
        _ = trainer.MLP


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("statement", "is_loaded"),
    [("import trainer", False), ("from trainer import MLPClassifier", True)],
)
def test_trainer_import_loads_scikit_learn_only_for_an_estimator(statement, is_loaded):
    code = f"{statement}; import sys; print('sklearn' in sys.modules, 'scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(is_loaded)] * 2
