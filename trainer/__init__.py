"""Train a neural network in NumPy, and export it as an ONNX bundle with the same answers.

    from trainer import Config, fit

    bundle, result = fit(Config(data="people.csv", target="bought"))

What a program imports:

- `fit` and `Config`: from a file or a built-in data set to a bundle, as `trainer fit` does it.
- `MLPClassifier` and `MLPRegressor`: estimators with the interface of scikit-learn.
- `Sequential`: a network with the interface of Keras.
- `trainer.nn`: layers, losses, optimizers and the network itself.

The first five are imported when they are first used, so that `import trainer` loads neither
scikit-learn nor SciPy.

Each package imports only packages that are listed before it:

- `nn`: layers, losses, optimizers and the network, in NumPy only.
- `data`: reading files, checking tables, splitting, preprocessing.
- `training`: the training loop, its callbacks, checkpoints and diagnostics.
- `model`, `sequential`: a whole model in NumPy; the interface of Keras.
- `evaluate`: metrics, intervals, baselines, threshold, calibration.
- `export`: the ONNX graph, its comparison with NumPy, the bundle.
- `config`, `runs`, `pipeline`, `score`: the options of a run, its record, the way from data to a
  bundle, batch scoring. `fit_options`, `presets`, `config_types`, `option_errors`, `run_rows`,
  `output_scaling` and `score_writers` are parts of them.
- `estimators`: the interface of scikit-learn.
- `compress`, `search`, `report`, `study`, `check`: uses of a trained model.
- `cli`: the command line.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainer.config import Config
    from trainer.estimators import MLPClassifier, MLPRegressor
    from trainer.pipeline import fit
    from trainer.sequential import Sequential

__all__ = ["Config", "MLPClassifier", "MLPRegressor", "Sequential", "fit"]

_MODULES = {
    "Config": "trainer.config",
    "MLPClassifier": "trainer.estimators",
    "MLPRegressor": "trainer.estimators",
    "Sequential": "trainer.sequential",
    "fit": "trainer.pipeline",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first used (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    """Return the public names, imported or not."""
    return sorted({*globals(), *__all__})
