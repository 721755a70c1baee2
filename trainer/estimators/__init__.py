"""scikit-learn's face: `MLPClassifier` and `MLPRegressor`, drop-in for those of scikit-learn.

Arguments and attributes have scikit-learn's names wherever it has one. Beyond them: class weights,
dropout, batch normalisation, label smoothing, absolute and Huber losses, an activation per layer
and leaky ones, more solvers and schedules, validation-loss curves, and callbacks. Sparse rows are
taken, a batch at a time made dense. The solver lbfgs is not here, and what would have no effect is
refused.
"""

from trainer.estimators.classifier import MLPClassifier
from trainer.estimators.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
