"""The search: which choices make the best model, by cross-validation, without the test rows."""

from trainer.search.candidates import Candidate, RefusedError
from trainer.search.grid import Grid, read_grid
from trainer.search.journal import Entry, Journal, JournalError
from trainer.search.run import ENGINES, Engine, Outcome, search

__all__ = [
    "ENGINES",
    "Candidate",
    "Engine",
    "Entry",
    "Grid",
    "Journal",
    "JournalError",
    "Outcome",
    "RefusedError",
    "read_grid",
    "search",
]
