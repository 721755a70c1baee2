"""`MLPClassifier` and `MLPRegressor` with scikit-learn's interface.

They can replace the classes of the same names in `sklearn.neural_network`: parameters and
attributes have scikit-learn's names wherever it has one. They also offer class weights, dropout,
batch normalisation, label smoothing, the losses `absolute_error` and `huber`, an activation for
each layer, more activations, solvers and schedules, the validation loss of each epoch, and
callbacks. Sparse matrices are accepted and converted to dense batches one at a time. The solver
`lbfgs` is not available. A parameter that would have no effect raises an error.
"""

import trainer.train_extra  # noqa: F401 - says which extra to install

from trainer.estimators.classifier import MLPClassifier
from trainer.estimators.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
