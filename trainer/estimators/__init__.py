"""scikit-learn's face: `MLPClassifier` and `MLPRegressor`, drop-in for those of scikit-learn.

Arguments and attributes have scikit-learn's names wherever it has one. Beyond them: class weights,
dropout, batch normalisation, label smoothing, absolute and Huber losses, an activation per layer
and leaky ones, more solvers and schedules, validation-loss curves, and callbacks. The solver lbfgs
is not here.
"""

from trainer.estimators.classifier import MLPClassifier
from trainer.estimators.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
