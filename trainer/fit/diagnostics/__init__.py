"""Diagnostics: what is wrong with a network, its rows or its run, by name and with a remedy."""

from trainer.fit.diagnostics.faults import FAULTS, Fault, Measurement
from trainer.fit.diagnostics.gradients import check_backpropagation
from trainer.fit.diagnostics.health import layer_health
from trainer.fit.diagnostics.start import check_start
from trainer.fit.diagnostics.tiny import check_tiny
from trainer.fit.diagnostics.watch import Diagnostics

__all__ = [
    "FAULTS",
    "Diagnostics",
    "Fault",
    "Measurement",
    "check_backpropagation",
    "check_start",
    "check_tiny",
    "layer_health",
]
