"""Preprocessing: records to network inputs, fitted on training rows and exported in the graph."""

from trainer.data.preprocess.categories import Categories
from trainer.data.preprocess.dates import Dates
from trainer.data.preprocess.encoder import Encoder, Encoding
from trainer.data.preprocess.numbers import Numbers
from trainer.data.preprocess.precise import Precise
from trainer.data.preprocess.quantiles import Quantiles
from trainer.data.preprocess.scaler import Scaler, Scaling

__all__ = [
    "Categories",
    "Dates",
    "Encoder",
    "Encoding",
    "Numbers",
    "Precise",
    "Quantiles",
    "Scaler",
    "Scaling",
]
