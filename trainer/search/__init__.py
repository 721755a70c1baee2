"""The search: which choices make the best model, by cross-validation, without the test rows.

`run` is imported where a search is run: scikit-learn takes a second.
"""

from trainer.search.candidates import Candidate, RefusedError
from trainer.search.grid import ENGINES, Engine, Grid, read_grid
from trainer.search.journal import Entry, Journal, JournalError

__all__ = [
    "ENGINES",
    "Candidate",
    "Engine",
    "Entry",
    "Grid",
    "Journal",
    "JournalError",
    "RefusedError",
    "read_grid",
]
