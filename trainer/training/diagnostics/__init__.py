"""Diagnostics: measurements of a network, its rows and its run that reveal common faults."""

from trainer.training.diagnostics.backpropagation import check_backpropagation
from trainer.training.diagnostics.faults import FAULTS, Fault, Measurement
from trainer.training.diagnostics.initial_checks import check_initial_state
from trainer.training.diagnostics.layer_health import measure_layer_health
from trainer.training.diagnostics.monitor import Diagnostics
from trainer.training.diagnostics.overfit_check import check_overfitting

__all__ = [
    "FAULTS",
    "Diagnostics",
    "Fault",
    "Measurement",
    "check_backpropagation",
    "check_initial_state",
    "check_overfitting",
    "measure_layer_health",
]
